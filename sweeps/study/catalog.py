"""The studies, one function each. Without --data all but `cifar10-small` train on digits, anywhere and in minutes.

With --data, grids start from the base of `cifar10-small`, or with the schedule `full` from the full recipe. A sweep has
one dataset: run a study once per dataset, each under its own name. Trials of one recipe share trunks and teachers.

Names and summaries are listed without PyTorch: the parts of a study are imported when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from basin.errors import UsageError, one_of

if TYPE_CHECKING:
    from sweeps.study.job import Changes
    from sweeps.study.study import Study

SEARCHED = ("beta", "t", "temperature", "weight")
VIT: Changes = {"model": "vit", "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05}
"""Training settings of a transformer."""

StudyFunction = Callable[[Path | None], "Study"]
STUDIES: dict[str, StudyFunction] = {}


def study(function: StudyFunction) -> StudyFunction:
    """Register a study under its function's name, with dashes."""
    STUDIES[function.__name__.replace("_", "-")] = function
    return function


SCHEDULES = ("short", "full")
"""Training schedules: minutes on two cores, or as in the literature."""


def build(name: str, data: Path | None, schedule: str = "short") -> Study:
    """Build a study by name; raises UsageError for an unknown name or schedule, and for `full` without data."""
    if name not in STUDIES:
        raise one_of("study", name, STUDIES)
    if schedule not in SCHEDULES:
        raise one_of("--schedule", schedule, SCHEDULES)
    chosen = STUDIES[name](data)
    if schedule == "short":
        return chosen
    if data is None or name == "quickstart":
        raise UsageError(f"--schedule full: expected --data and a study other than quickstart, got study {name}")
    from sweeps.study.bases import full_base

    return replace(chosen, base=full_base(chosen.base, data))


@study
def quickstart(data: Path | None) -> Study:
    """Every construction against the deep ensemble: 200 digits, ResNet8, five fresh seeds, minutes on two cores.

    The task is the one that `python -m benchmarks embedded-task` chooses on validation scores (docs/experiments.md).
    """
    from sweeps.study.bases import digits_base
    from sweeps.study.space import Space
    from sweeps.study.study import Study

    return Study(
        base=digits_base(),
        space=Space(("constrained", "distilled"), SEARCHED),
        trials=12,
        references=tuple({"construction": name} for name in ("deep", "swe", "permuted")),
        seeds=5,
        plane_points=11,
    )


@study
def cifar10_small(data: Path | None) -> Study:
    """CIFAR-10 (or --data) at 32 px, ResNet20, a short schedule on a subset, for two cores."""
    from sweeps.study.bases import small_images_base
    from sweeps.study.space import Space
    from sweeps.study.study import Study

    space = Space(("constrained", "distilled"), SEARCHED)
    return Study(base=small_images_base(data), space=space, trials=12, auto_precision=True)


@study
def time_parameter(data: Path | None) -> Study:
    """Figure 5: branches of a trunk at time t, with and without a constraint, on a grid of t."""
    times = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    grid = [{"construction": "constrained", "t": t, "beta": beta} for t, beta in product(times, (0.0, 1.0))]
    return _grid_study(data, grid)


@study
def constraint(data: Path | None) -> Study:
    """Constraint strength β: members that share nothing, each kind of constraint, and a table of β and t.

    Without a shared start only the constraint brings members together. 37 configurations on five seeds and five
    deep ensembles: 190 trials.
    """
    alone = {"construction": "constrained", "t": 0.0, "share_init": False}
    strengths = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    simplex = [{**alone, "beta": beta, "constraint": "simplex"} for beta in strengths]
    kinds = [
        {**alone, "beta": beta, "constraint": kind}
        for kind, beta in product(("path", "matching", "star", "proximal"), (0.3, 3.0, 30.0))
    ]
    shared = [
        {"construction": "constrained", "t": t, "beta": beta, "constraint": "simplex", "share_init": True}
        for t, beta in product((0.0, 0.05, 0.2), (0.0, 0.1, 0.3, 1.0, 3.0, 10.0))
    ]
    return replace(_grid_study(data, [*simplex, *kinds, *shared]), seeds=5)


@study
def tradeoff(data: Path | None) -> Study:
    """Constraint strength against distillation temperature."""
    grid = [
        {"construction": "distilled", "t": 0.1, "beta": beta, "temperature": temperature}
        for beta, temperature in product((0.0, 0.1, 1.0, 10.0), (0.5, 1.0, 2.0, 4.0, 8.0))
    ]
    return _grid_study(data, grid)


@study
def temperature(data: Path | None) -> Study:
    """Distillation temperature against the weight of the teacher."""
    grid = [
        {"construction": "distilled", "t": 0.1, "temperature": temperature, "weight": weight}
        for temperature, weight in product((0.5, 1.0, 2.0, 4.0, 8.0), (0.3, 0.6, 0.9, 1.0))
    ]
    return _grid_study(data, grid)


@study
def alignment(data: Path | None) -> Study:
    """Permuted ensembles by width, matching and BatchNorm policy."""
    widths = (0.5, 1.0, 2.0, 4.0)
    deep = [{"construction": "deep", "width": width} for width in widths]
    permuted = [
        {"construction": "permuted", "width": width, "matching": matching}
        for width, matching in product(widths, ("weights", "activations"))
    ]
    chosen = _grid_study(data, deep + permuted)
    evaluation = replace(chosen.base.evaluation, policies="all")
    return replace(chosen, base=replace(chosen.base, evaluation=evaluation), references=())


@study
def architectures(data: Path | None) -> Study:
    """ResNet with batch and layer norm, and ViT: deep, constrained and distilled ensembles."""
    models: tuple[Changes, ...] = ({}, {"norm": "layer"}, _vit_changes(data))
    return replace(_grid_study(data, _cross(models, ("deep", "constrained", "distilled"))), references=())


@study
def ensemble_size(data: Path | None) -> Study:
    """Deep ensembles of 1 to 8 members: the curve for deep-ensemble equivalents."""
    sizes = [{"construction": "deep", "members": members} for members in range(1, 9)]
    return replace(_grid_study(data, sizes), references=())


@study
def paper(data: Path | None) -> Study:
    """Every construction on ResNet and ViT; with several --data, on each dataset."""
    names = ("deep", "swe", "constrained", "permuted", "distilled")
    return replace(_grid_study(data, _cross(({}, _vit_changes(data)), names)), references=())


def _cross(models: Sequence[Changes], names: Sequence[str]) -> list[Changes]:
    """Every model with every construction."""
    return [{**model, "construction": name} for model, name in product(models, names)]


def _grid_study(data: Path | None, grid: Sequence[Changes]) -> Study:
    from sweeps.study.space import Space

    base = quickstart(data) if data is None else cifar10_small(data)
    space = Space(tuple(dict.fromkeys(str(point["construction"]) for point in grid)), ())
    deep: tuple[Changes, ...] = ({"construction": "deep"},)
    return replace(base, space=space, trials=0, grid=tuple(grid), references=deep, seeds=3, plane_points=0)


def _vit_changes(data: Path | None) -> Changes:
    small = {"patch": 2, "dim": 32, "blocks": 2, "heads": 2}
    return {**VIT, **(small if data is None else {})}
