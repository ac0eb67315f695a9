"""Cost of training and measuring each construction."""

from collections.abc import Callable
from itertools import product

import pyarrow as pa

from analysis.answers.construction_table import construction_sheet
from analysis.data.columns import column_metadata
from analysis.data.queries import Configuration, Row, Tables, whole_seconds
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet
from stats.intervals import mean_interval, median_range

TITLE = "Cost"
QUESTION = "What does training cost?"
WHAT = (
    "Passes (one batch, one network, forward and backward) of the ensemble's own training and of its teachers' "
    "training, forward passes of teachers, and wall seconds of the trial, evaluation included, without and with the "
    "stages that it is built from (members, teachers, trunk). Trials share stages, and each is charged the whole. "
    "Empty if a stage has no recorded seconds. Passes: mean ± half of the 95 % t interval over seeds. Seconds: median "
    "and range over seeds, since they depend on the load of the machine."
)
NEEDS = "quickstart"

EARLIER_HEADINGS = {
    "passes": "passes (batches)", "member_epochs": "member epochs", "teacher_passes": "teachers' passes (batches)",
    "teacher_forwards": "teachers' forwards (batches)", "seconds": "wall time without stages (s)",
}  # fmt: skip
"""Column → its heading, in files of earlier versions, whose columns do not carry theirs."""


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model)."""
    columns = _cost_columns(tables.trials.schema)
    if all(_cost_value(row, column.name) is None for row, column in product(tables.rows, columns[1:])):
        raise Missing("no finished trial has passes or seconds")
    extra = [(column, _cost_cell(column.name)) for column in columns]
    return construction_sheet(tables, [], extra=extra, note="; seconds: median (range)")


def _cost_columns(schema: pa.Schema) -> list[Column]:
    """Return the columns with a heading in this table, with the members before them and the whole wall time after."""
    columns = [Column("members", "members", "members", digits=0)]
    for field in schema:
        heading = column_metadata(schema, field.name, "heading") or EARLIER_HEADINGS.get(field.name)
        if heading:
            columns.append(Column(field.name, heading, heading, digits=int(pa.types.is_floating(field.type))))
    return [*columns, Column("whole_seconds", "wall time (s)", "wall time (s)", digits=1)]


def _cost_cell(column: str) -> Callable[[Configuration], Cell]:
    def cell(configuration: Configuration) -> Cell:
        values = [value for row in configuration.rows if (value := _cost_value(row, column)) is not None]
        if len(set(values)) == 1:  # a count that is the same for every seed has no interval
            return Cell(f"{values[0]:g}")
        if column.endswith("seconds"):  # other work on the machine makes them skew
            return Cell(median_range(values))
        return Cell(mean_interval(values), of=len(configuration.rows))

    return cell


def _cost_value(row: Row, column: str) -> float | None:
    value = whole_seconds(row) if column == "whole_seconds" else row.get(column)
    return None if value is None else float(value)
