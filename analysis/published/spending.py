"""What the published sweeps cost, beside the loop in which every trial trains its own trunks and teachers.

A row states what its trial uses, shared stages included, so that the sum over rows is the naive loop. Stages of one
recipe and seed lie in each other (a trunk is the beginning of the first member; teachers are the members), so the
largest of them is what was trained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from analysis.data.columns import column_metadata, evaluation_names, hyperparameter_names
from analysis.data.results import Row, Tables
from analysis.output.sheet import Cell, Column, Sheet
from analysis.published.sweeps import Sweep

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Spending:
    """Hours of trials and images that members were trained on: as spent, and of the naive loop."""

    trials: int = 0
    hours: float = 0.0
    naive_hours: float = 0.0
    images: float = 0.0
    naive_images: float = 0.0

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))


def spend(tables: Tables) -> Spending:
    """Return what a sweep has cost, as far as its rows say."""
    names = _recipe_names(tables.trials.schema)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in tables.rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return sum((_spend_group(rows) for rows in groups.values()), Spending())


def _recipe_names(schema: pa.Schema) -> list[str]:
    """Return the columns in which trials that share stages agree: all but construction and evaluation."""
    apart = evaluation_names(schema)
    training = [
        name
        for name in hyperparameter_names(schema)
        if name not in apart and column_metadata(schema, name, "section") not in ("construction", "")
    ]
    return ["dataset", "data_hash", "model", "seed", *training]


def _spend_group(rows: Sequence[Row]) -> Spending:
    """Return the cost of trials of one recipe and seed."""
    own, stages = sum(_column(rows, "seconds")), _column(rows, "stage_seconds")
    whole = sum(_images(row, "passes") + _images(row, "teacher_passes") for row in rows)
    staged = [_images(row, "stage_passes") for row in rows]
    return Spending(
        trials=len(rows),
        hours=(own + max(stages, default=0.0)) / SECONDS_PER_HOUR,
        naive_hours=(own + sum(stages)) / SECONDS_PER_HOUR,
        images=whole - sum(staged) + max(staged, default=0.0),
        naive_images=whole,
    )


def _column(rows: Iterable[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None]


def _images(row: Row, passes: str) -> float:
    return float((row.get(passes) or 0) * (row.get("batch_size") or 0))


def spending_table(sweeps: Sequence[Sweep]) -> str:
    """Return the table of all sweeps and their sum, in Markdown."""
    names = ("sweep", "trials", "hours", "hours of the naive loop", "member images (millions)", "of the naive loop")
    costs = {sweep.name: spend(sweep.tables) for sweep in sweeps}
    if len(costs) > 1:
        costs["all"] = sum(costs.values(), Spending())
    rows = [[Cell(name), *map(Cell, _numbers(cost))] for name, cost in costs.items()]
    note = (
        "hours: wall time of the trials and of the trunks and teachers that they share, on the machines above. "
        "Naive loop: every trial trains its own trunks and teachers. Member images: images that one network was "
        "trained on, forward and backward, by its own task or as a teacher."
    )
    return Sheet([Column(name, name, name) for name in names], [rows], note, []).markdown().rstrip()


def _numbers(cost: Spending) -> list[str]:
    millions = (f"{images / 1e6:,.1f}" for images in (cost.images, cost.naive_images))
    return [f"{cost.trials:,}", f"{cost.hours:,.2f}", f"{cost.naive_hours:,.2f}", *millions]
