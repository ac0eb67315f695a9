"""Estimators of the constraint's gradient at the same number of passes, and the scores of ensembles trained by each."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from basin import stack
from basin.connectivity.paths import PathPoint
from basin.constructions.constrained import Constrained
from basin.data.digits import Digits
from basin.environment import Machine, Place, default_cache
from basin.models.resnet import ResNet
from basin.stack import Stack
from basin.training.loop import DivergedError
from basin.training.objective import Objective
from basin.trial import Outcome, Trial, overlay, run

Row = dict[str, str | float]
MEMBERS = 4
NETWORKS = 6
"""Networks of a step that the epochs of a task are meant for: the members and two mixed ones."""


@dataclass(frozen=True, kw_only=True)
class Unnormalised(Constrained):
    """The estimator before it was divided by 1 + β: member k's step is g_k + β c_k g_mix. Only for comparison."""

    def objective(self) -> Objective:
        """The objective with a division by 1."""
        return replace(super().objective(), coefficients=lambda count: torch.zeros(count, dtype=torch.float64))


@dataclass(frozen=True)
class Estimator:
    """A constraint, and how often it is drawn in a step."""

    constraint: str
    draws: int = 1
    kind: type[Constrained] = Constrained

    def construction(self, beta: float) -> Constrained:
        """Independent starts under a constraint of strength β."""
        return self.kind(
            members=MEMBERS,
            t=0.0,
            share_init=False,
            beta=beta,
            constraint=self.constraint,  # type: ignore[arg-type]
            draws=self.draws,
        )

    def epochs(self, epochs: int) -> int:
        """As many as take the passes of `epochs` epochs of the members and two mixed networks, also at β = 0."""
        return max(1, round(epochs * NETWORKS / self.construction(1.0).spends(1).passes))

    def same(self, beta: float) -> tuple[object, ...]:
        """What its training depends on, apart from the task: at β = 0 all estimators of equal length are the same."""
        return (self.epochs(60), beta, asdict(self) if beta else None)


ESTIMATORS = {
    "path": Estimator("path"),
    "path-2": Estimator("path", 2),
    "simplex": Estimator("simplex"),
    "simplex-2": Estimator("simplex", 2),
    "matching": Estimator("matching"),
    "star": Estimator("star"),
    "proximal": Estimator("proximal"),
    "old": Estimator("path", 1, Unnormalised),
}


@dataclass(frozen=True)
class Task:
    """Images, a network and a budget."""

    name: str
    settings: Mapping[str, object]
    """Fields of every trial, apart from the estimator's and the seed."""
    data: Path | None = None

    @property
    def trial(self) -> Trial:
        """The trial that all estimators start from."""
        start = Trial(dataset=Digits(), model=ResNet(depth=8), construction=Constrained())
        return overlay(start, self.settings)


EVALUATION = {"policies": "reset", "hull_points": 0, "progress_every": 1_000_000}


def digits_task(changes: Mapping[str, object]) -> Task:
    """ResNet8 of half width on 300 digits, 30 epochs."""
    return Task("digits", EVALUATION | {"width": 0.5, "train_size": 300, "epochs": 30} | dict(changes))


def photographs_task(dataset: str, data: Path | None, changes: Mapping[str, object]) -> Task:
    """ResNet8 on 1,500 photographs of 32 pixels, 6 epochs; paths are scored on 2,000 test images."""
    settings = {"dataset": dataset, "train_size": 1500, "val_size": 500, "epochs": 6, "path_images": 2000}
    size = {"resolution": 32} if dataset == "imagefolder" else {}
    return Task(dataset, EVALUATION | settings | size | dict(changes), data)


def train(task: Task, estimator: Estimator, beta: float, seed: int, threads: int, device: str) -> Row:
    """Train and score one ensemble; a diverged one has no scores."""
    epochs = estimator.epochs(task.trial.training.epochs)
    changed = overlay(task.trial, {"seed": seed, "epochs": epochs})
    trial = replace(changed, construction=estimator.construction(beta))
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        machine = Machine(device=device, threads=threads)  # type: ignore[arg-type]
        place = Place(machine=machine, data=task.data, cache=default_cache(), runs=Path(folder))
        try:
            scores = _outcome_scores(run(trial, place))
        except DivergedError:
            scores = {}
    return {"epochs": epochs, "seconds": time.perf_counter() - began, **scores}


def _outcome_scores(outcome: Outcome) -> Row:
    scores = outcome.measured.scores
    return {
        "passes": outcome.meter.passes,
        "accuracy": scores["test_accuracy"],
        "member_accuracy": scores["test_member_mean_accuracy"],
        "nll": scores["test_nll"],
        "barrier": scores["test_barrier_reset"],
        "loss_barrier": loss_barrier(point for point in outcome.measured.paths if point.split == "test"),
        "distance": mean_distance(outcome.ensemble.members()),
        "disagreement": scores["test_disagreement"],
    }


def loss_barrier(points: Iterable[PathPoint]) -> float:
    """The largest rise of the loss above the chord between the ends of a path, over α and pairs; nats, floored at 0."""
    curves: dict[tuple[int, int], dict[float, float]] = {}
    for point in points:
        curves.setdefault((point.i, point.j), {})[point.alpha] = point.loss
    rises = [0.0]
    for curve in curves.values():
        rises += [loss - (1 - alpha) * curve[0.0] - alpha * curve[1.0] for alpha, loss in curve.items()]
    return float(np.max(rises))


def mean_distance(members: Stack) -> float:
    """Mean over pairs of the Euclidean distance between the trained weights of two members."""
    names = [name for name, t in members.items() if t.is_floating_point() and "running_" not in name]
    flat = stack.flatten_weights(members, names).double()
    return float(np.mean([float((flat[i] - flat[j]).norm()) for i, j in combinations(range(len(flat)), 2)]))
