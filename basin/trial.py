"""One trial: its values, its key, and the pipeline that runs it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from basin import data as images
from basin import keys
from basin.constructions import Construction, constructions
from basin.data import Arrays, Data, Dataset, DataSplit, Images, datasets, steps_per_epoch
from basin.data.description import Description
from basin.ensemble import Ensemble
from basin.environment import Place
from basin.errors import UsageError, one_of
from basin.interrupt import PreemptedError
from basin.journal import Journal, Progress
from basin.measure import Evaluation, Measured, measure_ensemble
from basin.models import Model, models
from basin.registry import Registry
from basin.saved import Inputs, Origin, Saved, growing_settings, load_ensemble
from basin.spec import Field, Value, changed_fields, describe_fields, replace_known
from basin.stages import Stages
from basin.task import Task
from basin.training.execution_mode import Engine
from basin.training.loop import Training
from basin.training.network import Network
from basin.training.objective import Meter

REGISTRIES: dict[str, Registry[Any]] = {"dataset": datasets, "model": models, "construction": constructions}
RECIPE = ("dataset", "split", "model", "training")
"""The sections on which a stage depends."""
SECTIONS = (*RECIPE, "construction", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Every value that a result depends on; machines and paths are not among them."""

    dataset: Dataset
    model: Model
    construction: Construction
    split: DataSplit = field(default_factory=DataSplit)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 0
    data_hash: str = ""
    """Hash of the decoded images and labels: two folders of the same layout are two datasets."""
    ood_hash: str | None = None
    """Hash of the out-of-distribution dataset; None without one."""

    @property
    def key(self) -> str:
        """The trial's name: a hash of every value it depends on, given or default."""
        return keys.hash_contents(self.contents)

    @property
    def ensemble_key(self) -> str:
        """The key of its trained networks: everything but the evaluation."""
        return keys.hash_contents(self.ensemble_recipe)

    @property
    def ensemble_recipe(self) -> keys.Contents:
        """The contents on which its trained networks depend."""
        return self._section_contents(*RECIPE, "construction")

    @property
    def recipe_key(self) -> str:
        """The key of its stages: everything but the construction and the evaluation."""
        return keys.hash_contents(self.recipe)

    @property
    def contents(self) -> keys.Contents:
        """Every value that acts, and the versions of the classes that give them a meaning."""
        elsewhere = {} if self.ood_hash is None else {"ood_hash": self.ood_hash}
        return self._section_contents(*SECTIONS) | elsewhere

    @property
    def recipe(self) -> keys.Contents:
        """The contents on which its stages depend."""
        return self._section_contents(*RECIPE)

    def flat(self) -> dict[str, Value]:
        """Every field by its own name, defaults filled in."""
        names: dict[str, Value] = {kind: registry.name(getattr(self, kind)) for kind, registry in REGISTRIES.items()}
        for section in SECTIONS:
            instance = getattr(self, section)
            names |= {field.name: getattr(instance, field.name) for field in describe_fields(type(instance))}
        return names | {"seed": self.seed, "data_hash": self.data_hash, "ood_hash": self.ood_hash}

    def settable(self) -> set[str]:
        """The names that `overlay` takes."""
        return {*REGISTRIES, "seed", *self.fields()}

    def fields(self) -> dict[str, Field]:
        """The fields that can be set, by name."""
        fields = chain.from_iterable(describe_fields(type(getattr(self, section))) for section in SECTIONS)
        return {field.name: field for field in fields if not field.fixed}

    def _section_contents(self, *sections: str) -> keys.Contents:
        contents: keys.Contents = {"format": keys.FORMAT, "seed": self.seed, "data_hash": self.data_hash}
        for section in sections:
            instance = getattr(self, section)
            if section in REGISTRIES:
                contents[section] = REGISTRIES[section].name(instance)
            contents |= keys.section_contents(section, instance)
        return contents | keys.split_sizes(self.split, self.dataset)


def trial_of_names(names: Mapping[str, object]) -> Trial:
    """The trial of the dataset, model and construction that are named; everything else is at its default."""
    return Trial(**{kind: registry.make(str(names[kind])) for kind, registry in REGISTRIES.items()})


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
            shared = {f.name for f in describe_fields(new)} - set(fixed) - set(left)
            sections[kind] = new(
                **fixed, **{name: value for name, value in changed_fields(old).items() if name in shared}
            )
    for section in SECTIONS:
        instance = sections.get(section, getattr(trial, section))
        names = {field.name for field in describe_fields(type(instance)) if not field.fixed}
        sections[section] = replace_known(instance, {name: left.pop(name) for name in names & set(left)})
    if "seed" in left:
        sections["seed"] = _parse_seed(left.pop("seed"))
    if left:
        raise one_of("field", next(iter(left)), replace(trial, **sections).settable())
    return replace(trial, **sections)


def trial_of_recipe(recipe: keys.Contents) -> Trial:
    """The trial of a stored recipe (`ensemble_recipe`), with the default evaluation.

    Raises UsageError if this code has another meaning for it.
    """
    classes: dict[str, type[Any]] = {
        kind: registry.entry(str(recipe[kind]))[0] for kind, registry in REGISTRIES.items()
    }
    classes |= {"split": DataSplit, "training": Training}
    sections: dict[str, Any] = {}
    for section, cls in classes.items():
        known = describe_fields(cls)
        values = {field.name: field.since.value for field in known if field.since}
        named = {field.name: f"{section}.{field.name}" for field in known}
        values |= {name: recipe[column] for name, column in named.items() if column in recipe}
        sections[section] = cls(**values)
    trial = Trial(**sections, seed=int(str(recipe["seed"])), data_hash=str(recipe["data_hash"]))
    if trial.ensemble_recipe != recipe:
        differences = keys.describe_differences(recipe, trial.ensemble_recipe)
        raise UsageError(f"made by other code ({differences}): use the commit that its row names")
    return trial


def _parse_seed(value: object) -> int:
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
    """Wall time over all launches; stages stored before are in `stage_seconds`."""
    stages: Mapping[int, int]
    """The stages it is built from: member → step."""
    stage_folder: str
    """Name of the folder of these stages."""
    stage_seconds: float | None
    """Wall time of these stages before the trial began; None if their files do not record it."""
    machine: dict[str, Value]
    ensemble: Ensemble
    epoch: int
    """Passes that are one epoch of one member."""
    batch: int
    """Images of a pass."""
    inputs: Inputs
    """Images that the networks take, and classes."""

    @property
    def stage_passes(self) -> int:
        """Passes of the stages it is built from, each once."""
        return sum(self.stages.values())

    @property
    def saved(self) -> Saved:
        """The part that is stored, to use the ensemble and to measure it again."""
        spent = (self.meter, self.seconds, self.stage_seconds)
        origin = Origin(self.trial.ensemble_recipe, self.inputs, self.stage_folder, self.stages)
        growing, soup = growing_settings(self.trial.evaluation), self.measured.soup
        return Saved(self.ensemble, self.history, growing, *spent, self.machine, origin, soup)


def open_data(trial: Trial, place: Place) -> Data:
    """The trial's images on its device; raises UsageError if they are not the ones that the trial names."""
    arrays, content = images.load_arrays(trial.dataset, source=place.data, cache=place.cache)
    _check_hash("data", trial.data_hash, content)
    return images.split_data(arrays, trial.dataset, trial.split, device=place.torch_device)


def _check_hash(option: str, expected: str | None, actual: str) -> None:
    if expected and expected != actual:
        raise UsageError(f"{option}: expected content {expected}, found {actual}; give the same --{option} as before")


def identify_data(trial: Trial, place: Place) -> Trial:
    """The trial with the hashes of the data that it will use."""
    _, content = images.load_arrays(trial.dataset, source=place.data, cache=place.cache)
    elsewhere = _load_other(trial, place)
    return replace(trial, data_hash=content, ood_hash=elsewhere.hash if elsewhere else None)


def describe_data(trial: Trial, place: Place) -> Description:
    """The trial's dataset in words; errors as `identify_data`."""
    arrays, _ = images.load_arrays(trial.dataset, source=place.data, cache=place.cache)
    return Description(datasets.name(trial.dataset), arrays)


def open_task(trial: Trial, place: Place) -> Task:
    """Open the context of a trial on its device: network, data and stages."""
    data = open_data(trial, place)
    trial = replace(trial, data_hash=data.hash)  # stages of two folders of images never share a key
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
    folder = place.runs / trial.recipe_key
    stages = Stages(network, data, trial.training, trial.seed, folder, place.remote, trial.recipe)
    return Task(network, data, stages, _open_other(trial, place, data), place.scratch, place.remote)


def _open_other(trial: Trial, place: Place, data: Data) -> Images | None:
    arrays = _load_other(trial, place)
    if arrays is None:
        return None
    _check_hash("ood-data", trial.ood_hash, arrays.hash)
    return images.reshape_images(arrays, data.shape, place.torch_device)


def _load_other(trial: Trial, place: Place) -> Arrays | None:
    if trial.evaluation.ood is None:
        return None
    return images.load_arrays(datasets.make(trial.evaluation.ood), source=place.ood_data, cache=place.cache)[0]


def run(trial: Trial, place: Place, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
    """Train the trial's ensemble and measure it: on validation while it grows, on validation and test at the end.

    `on_progress` is called after each score on validation, before the checkpoint of that moment is written; an
    exception that it raises stops the trial. Raises DivergedError if the training loss is not finite, UsageError if the
    data cannot be used, and PreemptedError if the process was asked to stop. A stopped trial continues from its
    checkpoint when it is run again with the same `scratch`.
    """
    report = on_progress or (lambda _: None)
    began = time.perf_counter()
    place.prepare()
    task = open_task(trial, place)
    journal, passes = Journal.open(task, began), trial.construction.spends(task.stages.steps).passes
    needs = trial.construction.needs(task.stages.steps)
    if journal.stage_seconds is None:
        journal.stage_seconds = task.stages.seconds(needs)
    try:
        for ensemble in trial.construction.grow(task):
            journal.passes.append(task.meter.passes)
            if len(journal.passes) % trial.evaluation.progress_every == 0:
                report(journal.add(task, ensemble, trial.evaluation, passes))
            journal.save()
    except PreemptedError:
        journal.save()
        raise
    if not journal.rows or journal.rows[-1].index != len(journal.passes):
        report(journal.add(task, ensemble, trial.evaluation, passes))
    measured = measure_ensemble(task, ensemble, trial.evaluation)
    engine = f"{task.network.engine.used} compiled" if place.machine.compile else task.network.engine.used
    machine = place.describe() | {"engine": engine}
    spent = (task.meter, journal.seconds, journal.stage_seconds)
    trained = Saved(ensemble, journal.rows, growing_settings(trial.evaluation), *spent, machine)
    return _make_outcome(trial, task, trained, measured)


def measure_again(trial: Trial, place: Place, saved: Saved) -> Outcome:
    """Measure the stored networks of a trial again, without training.

    Costs, history and machine are those of the training. Raises UsageError if the data cannot be used.
    """
    place.prepare()
    task = open_task(trial, place)
    saved = saved.on(task.network.device)
    return _make_outcome(trial, task, saved, measure_ensemble(task, saved.ensemble, trial.evaluation))


def measure_kept(trial: Trial, place: Place, path: Path) -> Outcome | None:
    """Measure the networks that an earlier run left in a file; None if there are none, or none for this evaluation."""
    saved = load_ensemble(path, trial.ensemble_key)
    return measure_again(trial, place, saved) if saved and saved.serves(trial.evaluation) else None


def _make_outcome(trial: Trial, task: Task, trained: Saved, measured: Measured) -> Outcome:
    count, size = len(task.data.train), trial.training.batch_size
    return Outcome(
        trial=trial,
        measured=measured,
        history=trained.history,
        meter=trained.meter,
        seconds=trained.seconds,
        stages=trial.construction.needs(task.stages.steps),
        stage_folder=task.stages.folder.name,
        stage_seconds=trained.stage_seconds,
        machine=trained.machine,
        ensemble=trained.ensemble,
        epoch=steps_per_epoch(count, size),
        batch=min(count, size),
        inputs=_describe_inputs(task.data),
    )


def _describe_inputs(data: Data) -> Inputs:
    mean, std = tuple(data.mean.tolist()), tuple(data.std.tolist())
    return Inputs(data.shape, mean, std, data.classes, data.class_names)
