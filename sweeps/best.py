"""The best tradeoffs of a sweep, chosen on validation, asked of MLflow alone."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from basin.errors import UsageError, one_of
from sweeps.reading import Reader, Run
from sweeps.schemas import trials

FLOORS = (-1.0, -2.0, -5.0)
"""Accuracy points of q_bar for which the best trial is shown."""


@dataclass(frozen=True)
class Best:
    """The answer to `best`."""

    x: str
    y: str
    front: list[Run]
    """Non-dominated trials of the search or the grid on validation, by x."""
    reference: list[Run]
    """The deep ensembles, one a seed."""
    hypervolume: float
    """Area between the front and the corner, in units of x times units of y."""
    corner: tuple[float, float]
    floors: dict[str, dict[float, Run | None]]
    """Construction → least q_bar on validation → its best trial by y on validation."""
    infeasible: int = 0
    """Trials that violate the sweep's constraints; they are left out, unless all do."""


def ask(reader: Reader, *, x: str, y: str) -> Best:
    """The answer for a sweep: every trial's choosing numbers are read, and the rest of the trials that are shown."""
    wanted = {f"val_{x}", f"val_{y}", "val_q_bar_reset"}
    runs = reader.finished(wanted)
    if not runs:
        raise UsageError("MLflow has no finished trial of this sweep: run `launch.py sweep` first")
    if not any(wanted <= run.metrics.keys() for run in runs):
        runs = reader.finished()  # what is said of absent metrics names those there are
    chosen = best(runs, x=x, y=y)
    floors = [run for row in chosen.floors.values() for run in row.values() if run]
    shown = {run.key: run for run in (*chosen.front, *chosen.reference, *floors)}
    whole = {run.key: run for run in reader.whole(list(shown.values()))}
    return replace(
        chosen,
        front=[whole[run.key] for run in chosen.front],
        reference=[whole[run.key] for run in chosen.reference],
        floors={
            name: {floor: run and whole[run.key] for floor, run in row.items()} for name, row in chosen.floors.items()
        },
    )


def best(runs: Sequence[Run], *, x: str = "q_bar_reset", y: str = "accuracy") -> Best:
    """Choose on validation, whatever split is shown afterwards; x and y are names without their split."""
    signs = (_sign(x), _sign(y))
    asked = {f"val_{x}", f"val_{y}"}
    candidates = [run for run in runs if run.role in ("search", "grid")]
    searched = [run for run in candidates if asked <= run.metrics.keys()]
    if candidates and not searched:
        there = {name.removeprefix("val_") for run in runs for name in run.metrics if name.startswith("val_")}
        raise UsageError(f"no searched trial has {x} and {y}: expected two of {', '.join(sorted(there))}")
    infeasible = sum(not run.feasible for run in searched)
    searched = [run for run in searched if run.feasible] or searched
    points = {run.key: (signs[0] * run.metrics[f"val_{x}"], signs[1] * run.metrics[f"val_{y}"]) for run in searched}
    front_keys, by_key = front(points), {run.key: run for run in searched}
    corner = (-10.0, 0.0)
    if (x, y) != ("q_bar_reset", "accuracy") and points:
        corner = (min(p[0] for p in points.values()), min(p[1] for p in points.values()))
    return Best(
        x,
        y,
        [by_key[key] for key in front_keys],
        [run for run in runs if run.role == "reference"],
        hypervolume([points[key] for key in front_keys], corner),
        (signs[0] * corner[0], signs[1] * corner[1]),
        {name: _floors(searched, name, y, signs[1]) for name in sorted({run.construction for run in searched})},
        infeasible,
    )


def front(points: dict[str, tuple[float, float]]) -> list[str]:
    """Keys of the points that no other dominates, both coordinates to be maximised, by the first, descending."""
    kept: list[str] = []
    highest = -math.inf
    for key, (_, y) in sorted(points.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])):
        if y > highest or (kept and points[key] == points[kept[-1]]):
            kept.append(key)
            highest = y
    return kept


def hypervolume(points: Sequence[tuple[float, float]], corner: tuple[float, float]) -> float:
    """Area that the points dominate above `corner`, both coordinates to be maximised."""
    area, floor = 0.0, corner[1]
    for x, y in sorted(points, reverse=True):
        if x > corner[0] and y > floor:
            area += (x - corner[0]) * (y - floor)
            floor = y
    return area


def _floors(searched: Sequence[Run], construction: str, y: str, sign: float) -> dict[float, Run | None]:
    own = [run for run in searched if run.construction == construction]
    return {
        floor: max(
            (run for run in own if run.metrics.get("val_q_bar_reset", -math.inf) >= floor),
            key=lambda run: (sign * run.metrics[f"val_{y}"], run.metrics["val_q_bar_reset"], run.key),
            default=None,
        )
        for floor in FLOORS
    }


def _sign(name: str) -> float:
    columns = {field.name: field for field in trials() if field.name.startswith("val_") and field.metadata}
    known = {column.removeprefix("val_") for column, field in columns.items() if b"better" in field.metadata}
    if name not in known:
        raise one_of("metric", name, known)
    better = columns[f"val_{name}"].metadata[b"better"]
    return -1.0 if better == b"lower" else 1.0


def as_json(answer: Best) -> dict[str, Any]:
    """The answer as plain data."""
    return asdict(answer)
