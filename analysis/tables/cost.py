"""What each construction takes to train and to measure."""

from collections.abc import Callable

from analysis.constructions import by_construction
from analysis.errors import Missing
from analysis.queries import Configuration, Row, Tables, seconds
from analysis.sheet import Cell, Column, Sheet
from analysis.statistics import mean_interval

TITLE = "Cost"
WHAT = (
    "Passes (one batch, one network, forward and backward) of the ensemble's own training, of its teachers' training, "
    "forward passes of teachers, and wall seconds: of the trial, measuring included, and with the single runs that it "
    "is built from (members, teachers, trunk), which trials share and of which each is charged the whole; empty where "
    "these runs were made before their seconds were kept. Mean ± half of the 95 % t interval over seeds."
)
NEEDS = "python launch.py sweep {sweep}"

COSTS = [
    Column("members", "members", "members", digits=0),
    Column("member_epochs", "member epochs", "member epochs", digits=1),
    Column("passes", "passes (batches)", "passes (batches)", digits=0),
    Column("teacher_passes", "teachers' passes (batches)", "teachers' passes (batches)", digits=0),
    Column("teacher_forwards", "teachers' forwards (batches)", "teachers' forwards (batches)", digits=0),
    Column("seconds", "wall time without shared runs (s)", "wall time without shared runs (s)", digits=1),
    Column("whole_seconds", "wall time (s)", "wall time (s)", digits=1),
]


def build(tables: Tables) -> Sheet:
    """One block a (dataset, model)."""
    if not any(_value(row, column.name) is not None for row in tables.rows for column in COSTS[1:]):
        raise Missing("no finished trial has passes or seconds")
    return by_construction(tables, [], extra=[(column, _cell(column.name)) for column in COSTS])


def _cell(column: str) -> Callable[[Configuration], Cell]:
    def cell(configuration: Configuration) -> Cell:
        values = [value for row in configuration.rows if (value := _value(row, column)) is not None]
        if len(set(values)) == 1:  # a count that is the same for every seed has no interval
            return Cell(f"{values[0]:g}")
        return Cell(mean_interval(values), of=len(configuration.rows))

    return cell


def _value(row: Row, column: str) -> float | None:
    value = seconds(row) if column == "whole_seconds" else row.get(column)
    return None if value is None else float(value)
