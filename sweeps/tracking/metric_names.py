"""Names of metrics in MLflow, whose page groups them by what stands before the slash.

A column of the tables has one name there: `val_nll` is `val/nll`, connectivity scores keep their split behind the slash
(`connectivity/val_q_bar_reset`), and costs are `cost/seconds`. Runs of older versions have the columns' own names.
"""

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

SPLITS = ("val", "test", "train")
"""Sections of prediction scores."""
CONNECTIVITY, COST = "connectivity", "cost"
WHOLE = (CONNECTIVITY, COST)
"""Sections whose metrics keep the whole name of their column."""

T = TypeVar("T")


def metric_name(column: str) -> str:
    """Return the metric of a column that holds a score, a distance or a cost."""
    section, name = _place_column(column)
    return f"{section}/{name}"


def column_of(metric: str) -> str:
    """Return the column of a metric; the names of older runs, and metrics that users added, are their own."""
    section, slash, name = metric.partition("/")
    if not slash:
        return metric
    if section in SPLITS:
        return f"{section}_{name}"
    return name if section in WHOLE else metric


def possible_names(column: str) -> tuple[str, ...]:
    """Return the names that a column's metric can have, the older one last; needs no import of PyTorch."""
    split, _, name = column.partition("_")
    sections = [f"{split}/{name}"] if split in SPLITS and name else []
    return (*sections, *(f"{section}/{column}" for section in WHOLE), column)


def by_column(metrics: Mapping[str, T]) -> dict[str, T]:
    """Name the metrics of a run by their columns; of two names of a column the one with a section counts."""
    older = {name: value for name, value in metrics.items() if "/" not in name}
    return older | {column_of(name): value for name, value in metrics.items() if "/" in name}


@cache
def _place_column(column: str) -> tuple[str, str]:
    """Section of a column's metric, and its name there."""
    from basin.connectivity.batchnorm import POLICIES
    from basin.costs import COSTS

    split, _, name = column.partition("_")
    if column in COSTS:
        return COST, column
    if split in SPLITS and name and column.rpartition("_")[2] not in POLICIES:
        return split, name
    return CONNECTIVITY, column
