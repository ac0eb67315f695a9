"""Training images that re-estimated BatchNorm statistics need: scores of mixed networks against those with all images.

A connected and a deep ensemble are trained. Their midpoints, their centroid and their members are scored with
statistics from all training images, and from several random draws of fewer. Without --data they train on the digits.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from basin.connectivity.batchnorm import HEADLINE, MixingContext
from basin.connectivity.hull import hull_rows
from basin.connectivity.probe import Probe, segment_row
from basin.constructions.deep import Deep
from basin.data import Data
from basin.data.digits import Digits
from basin.environment import Machine, Place, default_cache, parse_assignments
from basin.models.resnet import ResNet
from basin.seeds import make_generator
from basin.spec import Bounds, Checked
from basin.stack import Stack
from basin.task import Task
from basin.training.network import Precision
from basin.trial import Trial, open_task, overlay
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce, paced, tell_numbers, tell_result
from benchmarks.report import Report, markdown_report

Array = NDArray[np.float64]
ALLOWED = 0.1
"""Accuracy points by which fewer images may change a network's accuracy, on average over draws."""
ENSEMBLES: Mapping[str, Mapping[str, object]] = {
    "connected": {"construction": "constrained", "t": 0.3, "beta": 1.0},
    "deep": {"construction": "deep"},
}
QUICK = {
    "counts": "8,32",
    "draws": "2",
    "members": "2",
    "precision": "float32",
    "changes": "epochs=1,train_size=80,test_size=60,width=0.25",
}


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of the comparison; lists are separated by commas."""

    counts: str = "128,256,512,1024,2048"
    """Training images that statistics are estimated from."""
    draws: Annotated[int, Bounds(2)] = 3
    """Random draws of each number of images."""
    members: Annotated[int, Bounds(2)] = 3
    """Networks of each ensemble, K."""
    precision: Precision = "bfloat16"
    """Arithmetic of training and of mixed networks."""
    changes: str = ""
    """Fields of both trials to change, as field=value, separated by commas."""


@dataclass(frozen=True)
class Scored:
    """Scores of the mixed networks of one ensemble: [networks]."""

    accuracy: Array
    """In percent."""
    loss: Array
    """Mean negative log-likelihood, in nats."""
    shortfall: Array
    """Loss of accuracy below the chord between the members, whose statistics come from the same images; in points."""


@dataclass(frozen=True)
class Difference:
    """Differences from the scores with all images, over networks and draws."""

    mean: float
    """Mean over draws of the absolute difference, of the network where it is largest."""
    most: float
    """Largest absolute difference."""
    deviation: float
    """Standard deviation over draws, root mean square over networks."""

    @classmethod
    def between(cls, drawn: Sequence[Array], reference: Array) -> "Difference":
        """Compare draws of [networks] with the reference."""
        values = np.stack(drawn)
        apart = np.abs(values - reference)
        spread = math.sqrt(float(values.var(axis=0, ddof=1).mean()))
        return cls(float(apart.mean(axis=0).max()), float(apart.max()), spread)


def run(options: Options) -> Report:
    """Report how far scores are from those with all training images, and how many images suffice for 0.1 points."""
    settings = options.settle(Settings())
    counts = [int(text) for text in settings.counts.split(",")]
    numbers: dict[str, float] = {}
    sections = []
    with TemporaryDirectory() as folder:
        machine = Machine(device=options.device.type, threads=torch.get_num_threads())  # type: ignore[arg-type]
        place = Place(machine=machine, data=options.data, cache=default_cache(), runs=Path(folder))
        place.prepare()
        for name in ENSEMBLES:
            task, members = _train_ensemble(name, settings, place)
            reference = _score_mixtures(task, members, task.data, settings)
            fewer = [count for count in counts if count < len(task.data.train)]
            differences = {
                count: _compare_draws(task, members, count, reference, settings, name)
                for count in paced(fewer, "numbers of images")
            }
            numbers |= _describe_ensemble(name, reference, differences, len(task.data.train))
            sections.append(_difference_table(name, differences))
    tell_numbers(numbers)
    return Report("statistics-images", describe_machine(options.device), (), numbers, sections=tuple(sections))


def base_trial(data: Path | None) -> Trial:
    """The trial that both ensembles start from: ResNet8 on images in class folders at 32 px, or on 200 digits."""
    start = Trial(dataset=Digits(), model=ResNet(depth=8), construction=Deep())
    if data is None:
        return overlay(start, {"train_size": 200, "epochs": 10, "batch_size": 50})
    sizes = {"train_size": 4000, "val_size": 100, "test_size": 1500}
    recipe = {"dataset": "imagefolder", "resolution": 32, "epochs": 5, "batch_size": 100, "lr": 0.2}
    return overlay(start, sizes | recipe)


def _train_ensemble(name: str, settings: Settings, place: Place) -> tuple[Task, Stack]:
    changes = parse_assignments(filter(None, settings.changes.split(",")))
    trial = overlay(
        base_trial(place.data),
        {**ENSEMBLES[name], "members": settings.members, "precision": settings.precision, **changes},
    )
    task = open_task(trial, place)
    announce(f"{name}: train {settings.members} networks for {trial.training.epochs} epochs")
    *_, ensemble = trial.construction.grow(task)
    return task, ensemble.members()


def _compare_draws(
    task: Task, members: Stack, count: int, reference: Scored, settings: Settings, name: str
) -> dict[str, Difference]:
    drawn = [
        _score_mixtures(task, members, replace(task.data, train=task.data.train.subset(chosen)), settings)
        for chosen in draw_images(len(task.data.train), count, settings.draws)
    ]
    scores: dict[str, Callable[[Scored], Array]] = {
        "accuracy": lambda scored: scored.accuracy,
        "loss": lambda scored: scored.loss,
        "shortfall": lambda scored: scored.shortfall,
    }
    differences = {
        kind: Difference.between([score(one) for one in drawn], score(reference)) for kind, score in scores.items()
    }
    tell_result(
        f"{name}, {count} images",
        f"accuracy ± {differences['accuracy'].mean:.3f} points, loss ± {differences['loss'].mean:.4f} nats",
    )
    return differences


def draw_images(total: int, count: int, draws: int) -> Iterator[torch.Tensor]:
    """Draw positions of training images: disjoint draws while there are enough images, then of a new order."""
    order = torch.tensor([], dtype=torch.int64)
    for number in range(draws):
        if len(order) < count:
            order = torch.randperm(total, generator=make_generator("statistics-images", count, number))
        yield order[:count]
        order = order[count:]


def _score_mixtures(task: Task, members: Stack, data: Data, settings: Settings) -> Scored:
    """Score every midpoint, then the centroid, with statistics from all training images of `data`."""
    count = settings.members
    midpoints = [segment_row(i, j, 0.5, count) for i, j in combinations(range(count), 2)]
    rows = torch.cat([torch.stack(midpoints), hull_rows(count, 0)])
    probe = Probe(
        MixingContext(task.network, members, data, None, settings.precision), {"test": data.test}, per_image=False
    )
    mixed, ends = probe.mixed(rows, HEADLINE), probe.ends(HEADLINE)
    accuracy = np.array([score["test"].accuracy for score in mixed])
    chord = rows.numpy() @ np.array([score["test"].accuracy for score in ends])
    return Scored(accuracy, np.array([score["test"].loss for score in mixed]), chord - accuracy)


def _describe_ensemble(
    name: str, reference: Scored, differences: Mapping[int, Mapping[str, Difference]], total: int
) -> dict[str, float]:
    enough = [count for count in sorted(differences) if differences[count]["accuracy"].mean <= ALLOWED]
    return {
        f"{name}: training images": float(total),
        f"{name}: accuracy of the midpoints, %": float(reference.accuracy[:-1].mean()),
        f"{name}: shortfall of the midpoints, points": float(reference.shortfall[:-1].mean()),
        f"{name}: least images within {ALLOWED:g} points": float(min(enough, default=total)),
    }


def _difference_table(name: str, differences: Mapping[int, Mapping[str, Difference]]) -> str:
    heads = ["images"]
    for kind, unit in {"accuracy": "points", "loss": "nats", "shortfall": "points"}.items():
        heads += [f"{kind}: mean, {unit}", "largest", "sd over draws"]
    rows = [[str(count), *_difference_cells(kinds)] for count, kinds in differences.items()]
    title = f"**{name}: absolute difference from the scores with all images; the mean of the worst network**"
    return f"{title}\n\n{markdown_report(heads, rows)}"


def _difference_cells(kinds: Mapping[str, Difference]) -> list[str]:
    cells = []
    for kind, difference in kinds.items():
        digits = 4 if kind == "loss" else 3
        cells += [f"{value:.{digits}f}" for value in (difference.mean, difference.most, difference.deviation)]
    return cells
