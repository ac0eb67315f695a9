"""What a study is: one function each, returning where a sweep starts, what it searches, and what it compares with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from basin.constructions import constructions
from basin.data import Split, datasets
from basin.errors import UsageError, one_of
from basin.measure import Evaluation
from basin.models import models
from basin.place import Machine
from basin.spec import Value, describe
from basin.training import Training
from basin.trial import Trial, overlay
from sweeps.space import Space

Changes = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A base trial, the space around it, and the trials that are run whatever the search finds."""

    base: Trial
    space: Space
    trials: int
    """Configurations to search."""
    objectives: tuple[str, str] = ("val_accuracy", "val_q_bar_reset")
    """Both maximised; of the validation split, for the test split is only reported."""
    sampler: str = "tpe"
    references: tuple[Changes, ...] = ({"construction": "deep"},)
    """Trials to compare with, run for every seed."""
    seeds: int = 3
    """Seeds of the references, and of the configurations chosen from the search."""
    q_bar_floor: float = -2.0
    """Accuracy points: a chosen configuration has at least this q_bar on validation, if any has."""

    def set(self, changes: Changes) -> "Study":
        """The study with changed base fields; a field that is set is no longer searched.

        Raises UsageError for a name that neither the base nor any searched construction has.
        """
        changes = dict(changes)
        if "seed" in changes:
            raise UsageError(f"--set seed={changes['seed']}: give --seed, from which each trial's seed comes")
        if "construction" in changes:
            chosen = str(changes.pop("construction"))
            constructions.entry(chosen)
            return replace(self, space=self.space.only(chosen)).set(changes)
        base, searched = self.base, self.space.hyperparameters()
        fixed: dict[str, Value] = {}
        for name, value in changes.items():
            if name not in searched and name not in base.settable():
                raise one_of("field", name, {*searched, *base.settable(), *(f.name for f in describe(Machine))})
            if name in searched:
                fixed[name] = searched[name].parse(value)
            if name in base.settable():
                base = overlay(base, {name: value})
        return replace(self, base=base, space=self.space.fix(fixed))

    def sized(self, trials: int | None, sampler: str | None) -> "Study":
        """The study with another number of configurations or another sampler."""
        return replace(self, trials=trials or self.trials, sampler=sampler or self.sampler)

    def trial(self, changes: Changes) -> Trial:
        """The trial at a point of the space, with the values that the user fixed."""
        name = str(changes.get("construction", self.space.constructions[0]))
        return overlay(self.base, {**self.space.fixed_for(name), **changes})


StudyFunction = Callable[[Path | None], Study]
STUDIES: dict[str, StudyFunction] = {}


def study(function: StudyFunction) -> StudyFunction:
    """Register a study under its function's name, with dashes."""
    STUDIES[function.__name__.replace("_", "-")] = function
    return function


def build(name: str, data: Path | None) -> Study:
    """The study of that name; raises UsageError naming those there are."""
    if name not in STUDIES:
        raise one_of("study", name, STUDIES)
    return STUDIES[name](data)


@study
def quickstart(data: Path | None) -> Study:
    """Digits, ResNet8: constrained and distilled ensembles against the deep ensemble, in minutes on two cores."""
    return Study(
        base=Trial(
            dataset=datasets.make("digits"),
            model=models.make("resnet8", width=0.5),
            construction=constructions.make("deep"),
            training=Training(epochs=40, batch_size=50, lr=0.1),
            evaluation=Evaluation(progress_every=12),
        ),
        space=Space(("constrained", "distilled"), ("beta", "t", "temperature", "weight")),
        trials=24,
    )


@study
def cifar10_small(data: Path | None) -> Study:
    """CIFAR-10 or a folder of its images, ResNet20, a short schedule on a subset: an hour of two cores."""
    dataset = datasets.make("imagefolder" if data is not None and _holds_folders(data) else "cifar10")
    return Study(
        base=Trial(
            dataset=dataset,
            model=models.make("resnet20"),
            construction=constructions.make("deep", members=3),
            split=Split(train_size=4000, val_size=1000, test_size=2000),
            training=Training(epochs=10, batch_size=100, lr=0.2, precision="bfloat16"),
            evaluation=Evaluation(alphas=5, bn_images=1000, progress_every=4),
        ),
        space=Space(("constrained", "distilled"), ("beta", "t", "temperature", "weight")),
        trials=12,
    )


def _holds_folders(data: Path) -> bool:
    """Whether the data are anything but CIFAR's own binary files."""
    if not data.exists():
        raise UsageError(f"--data {data}: expected a file or a folder, found nothing there")
    binary = data.name.startswith("cifar-10-") or (data / "cifar-10-batches-py").is_dir()
    return not binary
