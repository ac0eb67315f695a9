"""What MLflow is told of a trial, as a function of its tables alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sweeps.schemas import SCHEMAS, hyperparameters, is_score
from sweeps.store import Row, Store

IDENTITY = ("dataset", "model", "construction", "seed")
ENDED = {"done": "FINISHED", "diverged": "FAILED", "stopped": "KILLED"}
"""Status of a trial → of its run."""
COSTS = (
    *("passes", "teacher_passes", "teacher_forwards", "stage_passes"),
    *("member_epochs", "image_passes", "seconds", "stage_seconds"),
)


class Point(NamedTuple):
    """One number of a run, in the order of the fields of MLflow's own `Metric`."""

    name: str
    value: float
    stamp: int
    """Milliseconds since 1970."""
    step: int


@dataclass(frozen=True)
class Entry:
    """One trial as a run of MLflow: the same whenever it is made from the same tables."""

    key: str
    began: int
    """Milliseconds since 1970."""
    ended: int
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    files: dict[str, Path]
    """Folder among the run's artifacts → the file that lies there under its own name."""


def entry(store: Store, row: Row) -> Entry:
    """The run of a finished trial."""
    key, (began, ended) = row["key"], times(row)
    history = store.table("history", key).to_pylist()
    points = [
        Point(name, value, began + int(1000 * step["seconds"]), step["step"])
        for step in history
        for name, value in step.items()
        if name.startswith("val_") and value is not None
    ]
    # The finished ensemble's scores come last, so that MLflow's "latest" is the final number.
    last = max((step["step"] for step in history), default=0) + 1
    points += [Point(name, float(row[name]), ended, last) for name in final_metrics(row)]
    return Entry(
        key,
        began,
        ended,
        ENDED[row["status"]],
        {name: str(row[name]) for name in _param_names(row)},
        {name: str(row[name]) for name in _tag_names(row)},
        points,
        {f"tables/{table}": path for table in SCHEMAS if (path := store.path(table, key)).exists()},
    )


def times(row: Row) -> tuple[int, int]:
    """Begin and end of a trial in milliseconds since 1970; two runs of one trial differ in them."""
    ended = int(row["finished_at"].timestamp() * 1000)
    return ended - int(1000 * (row["seconds"] or 0)), ended


def final_metrics(row: Row) -> list[str]:
    """The columns of a trial's row that are logged as final metrics: scores and costs."""
    return [name for name, value in row.items() if value is not None and (is_score(name) or name in COSTS)]


def _param_names(row: Row) -> list[str]:
    names = {*IDENTITY, *(spec.name for spec in hyperparameters())}
    return [name for name in row if name in names and row[name] is not None]


def _tag_names(row: Row) -> list[str]:
    logged = {*final_metrics(row), *_param_names(row)}
    return [name for name, value in row.items() if value is not None and name not in logged]
