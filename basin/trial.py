"""One trial: what it is, what it is called, and the only pipeline that runs it."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from basin import data as images
from basin.constructions import Construction, constructions
from basin.data import Arrays, Data, Dataset, Images, Split, datasets, steps_per_epoch
from basin.engine import Engine
from basin.ensemble import Ensemble
from basin.errors import UsageError, one_of
from basin.interrupt import PreemptedError
from basin.journal import Journal, Progress
from basin.measure import Evaluation, Measured, measure
from basin.models import Model, models
from basin.network import Network
from basin.objective import Meter
from basin.place import Place
from basin.registry import Registry
from basin.runs import Runs
from basin.spec import Value, canonical, changed, describe, replace_known
from basin.task import Task
from basin.training import Training

REGISTRIES: dict[str, Registry[Any]] = {"dataset": datasets, "model": models, "construction": constructions}
SECTIONS = ("dataset", "split", "model", "training", "construction", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that a result depends on; machines and paths are not among it."""

    dataset: Dataset
    model: Model
    construction: Construction
    split: Split = field(default_factory=Split)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0
    data_hash: str = ""
    """Hash of the decoded images and labels: two folders of the same layout are two datasets."""
    ood_hash: str | None = None
    """Likewise of the dataset of `ood`; none where there is none."""

    @property
    def key(self) -> str:
        """The trial's name: a hash of its canonical contents, fields at their defaults left out."""
        elsewhere = {} if self.ood_hash is None else {"ood_hash": self.ood_hash}
        return _key(self._contents(*SECTIONS) | elsewhere)

    @property
    def recipe_key(self) -> str:
        """The name of what its single runs share: everything but the construction and the evaluation."""
        return _key(self._contents("dataset", "split", "model", "training"))

    def flat(self) -> dict[str, Value]:
        """Every field by its own name, defaults filled in."""
        names: dict[str, Value] = {kind: registry.name(getattr(self, kind)) for kind, registry in REGISTRIES.items()}
        for section in SECTIONS:
            instance = getattr(self, section)
            names |= {field.name: getattr(instance, field.name) for field in describe(type(instance))}
        return names | {"seed": self.seed, "data_hash": self.data_hash, "ood_hash": self.ood_hash}

    def settable(self) -> set[str]:
        """The names that `overlay` takes."""
        sections = (type(getattr(self, section)) for section in SECTIONS)
        return {*REGISTRIES, "seed", *(f.name for section in sections for f in describe(section) if not f.fixed)}

    def _contents(self, *sections: str) -> dict[str, Value]:
        contents: dict[str, Value] = {"seed": self.seed, "data_hash": self.data_hash}
        for section in sections:
            instance = getattr(self, section)
            if section in REGISTRIES:
                contents[section] = REGISTRIES[section].name(instance)
            contents |= changed(instance)
        return contents


def _key(contents: Mapping[str, Value]) -> str:
    return hashlib.sha256(canonical(contents).encode()).hexdigest()[:16]


def overlay(trial: Trial, changes: Mapping[str, object]) -> Trial:
    """The trial with `changes` by name: `construction=distilled`, `beta=0.3`, `seed=1`.

    A newly named dataset, model or construction keeps the values of the fields it shares with the old one. Raises
    UsageError for unknown names and for values out of range.
    """
    left = dict(changes)
    sections: dict[str, Any] = {}
    for kind, registry in REGISTRIES.items():
        if kind in left:
            old = getattr(trial, kind)
            new, fixed = registry.entry(str(left.pop(kind)))
            shared = {f.name for f in describe(new)} - set(fixed) - set(left)
            sections[kind] = new(**fixed, **{name: value for name, value in changed(old).items() if name in shared})
    for section in SECTIONS:
        instance = sections.get(section, getattr(trial, section))
        own = {field.name for field in describe(type(instance)) if not field.fixed}
        sections[section] = replace_known(instance, {name: left.pop(name) for name in own & set(left)})
    if "seed" in left:
        sections["seed"] = _seed(left.pop("seed"))
    if left:
        raise one_of("field", next(iter(left)), replace(trial, **sections).settable())
    return replace(trial, **sections)


def _seed(value: object) -> int:
    text = str(value)
    if not text.isdecimal():
        raise UsageError(f"seed={text}: expected an integer of 0 or more")
    return int(text)


@dataclass(frozen=True)
class Outcome:
    """The record of a finished trial."""

    trial: Trial
    measured: Measured
    history: list[Progress]
    meter: Meter
    seconds: float
    """Wall time over all launches; what was there of the single runs before is in `stage_seconds`."""
    stage_passes: int
    """Of the single runs that it is built from, each once."""
    stage_seconds: float | None
    """Wall time of these runs before the trial began; None if their files do not say."""
    machine: dict[str, Value]
    ensemble: Ensemble
    epoch: int
    """Passes that are one epoch of one member."""
    batch: int
    """Images of a pass."""

    @property
    def cost(self) -> dict[str, float | None]:
        """What was spent: passes, also in epochs of one member and in images; wall seconds; teachers and runs apart."""
        passes = self.meter.passes
        more = {"member_epochs": passes / self.epoch, "image_passes": passes * self.batch, "seconds": self.seconds}
        return asdict(self.meter) | more | {"stage_passes": self.stage_passes, "stage_seconds": self.stage_seconds}


def open_data(trial: Trial, place: Place) -> Data:
    """The trial's images on its device; raises UsageError if they are not the ones that the trial names."""
    arrays, found = images.load(trial.dataset, source=place.data, cache=place.cache)
    _same("data", trial.data_hash, found)
    return images.prepare(arrays, trial.dataset, trial.split, device=place.torch_device)


def _same(option: str, named: str | None, found: str) -> None:
    if named and named != found:
        raise UsageError(f"{option}: expected content {named}, found {found}; give the same --{option} as before")


def identify(trial: Trial, place: Place) -> Trial:
    """The trial with the hashes of the data that it will use."""
    _, found = images.load(trial.dataset, source=place.data, cache=place.cache)
    elsewhere = _load_other(trial, place)
    return replace(trial, data_hash=found, ood_hash=elsewhere.hash if elsewhere else None)


def open_task(trial: Trial, place: Place) -> Task:
    """Network, data and single runs of a trial, on its device."""
    data = open_data(trial, place)
    trial = replace(trial, data_hash=data.hash)  # runs on two folders of images never share a name
    engine = Engine(place.machine.engine, place.machine.threads, place.torch_device)
    network = Network(
        trial.model,
        data.shape,
        data.classes,
        place.torch_device,
        trial.training.precision,
        engine,
        compiled=place.machine.compile,
    )
    runs = Runs(network, data, trial.training, trial.seed, place.runs / trial.recipe_key, place.remote)
    return Task(network, data, runs, _open_other(trial, place, data), place.scratch, place.remote)


def _open_other(trial: Trial, place: Place, data: Data) -> Images | None:
    arrays = _load_other(trial, place)
    if arrays is None:
        return None
    _same("ood-data", trial.ood_hash, arrays.hash)
    return images.reshaped(arrays, data.shape, place.torch_device)


def _load_other(trial: Trial, place: Place) -> Arrays | None:
    if trial.evaluation.ood is None:
        return None
    return images.load(datasets.make(trial.evaluation.ood), source=place.ood_data, cache=place.cache)[0]


def run(trial: Trial, place: Place) -> Iterator[Progress | Outcome]:
    """Grow the ensemble, score it on validation as it grows, at the end once on test; the last item is the Outcome.

    Raises DivergedError if training does, UsageError if the data cannot be used, PreemptedError where it was stopped:
    run again with the same `scratch`, it goes on.
    """
    began = time.perf_counter()
    place.prepare()
    task = open_task(trial, place)
    journal, passes = Journal.open(task, began), trial.construction.spends(task.runs.steps).passes
    needs = trial.construction.needs(task.runs.steps)
    if journal.stage_seconds is None:
        journal.stage_seconds = task.runs.seconds(needs)
    try:
        for ensemble in trial.construction.grow(task):
            journal.passes.append(task.meter.passes)
            if len(journal.passes) % trial.evaluation.progress_every == 0:
                yield journal.add(task, ensemble, trial.evaluation, passes)
            journal.save()
    except PreemptedError:
        journal.save()
        raise
    if not journal.rows or journal.rows[-1].index != len(journal.passes):
        yield journal.add(task, ensemble, trial.evaluation, passes)
    measured = measure(task, ensemble, trial.evaluation)
    count, size = len(task.data.train), trial.training.batch_size
    yield Outcome(
        trial=trial,
        measured=measured,
        history=journal.rows,
        meter=task.meter,
        seconds=journal.seconds,
        stage_passes=sum(needs.values()),
        stage_seconds=journal.stage_seconds,
        machine=place.describe() | {"engine": task.network.engine.used + " compiled" * place.machine.compile},
        ensemble=ensemble,
        epoch=steps_per_epoch(count, size),
        batch=min(count, size),
    )
