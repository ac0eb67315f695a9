"""Run records: what MLflow stores of a trial, derived from its tables."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from basin.costs import COSTS
from basin.errors import UsageError
from basin.files import read_object
from sweeps.storage.columns import is_score, list_hyperparameters
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Row, Store
from sweeps.tracking.dataset_inputs import LoggedDataset, describe_dataset
from sweeps.tracking.metric_names import column_of, metric_name
from sweeps.tracking.run_names import run_name

PROGRAM = "launch.py"
RUN_NAME, NOTE = "mlflow.runName", "mlflow.note.content"
SOURCE_NAME, SOURCE_TYPE, COMMIT = "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit"
"""Tags that MLflow's page shows in columns of their own."""
IDENTITY_PARAMS = ("dataset", "model", "construction", "seed")
ENDED = {"done": "FINISHED", "diverged": "FAILED", "stopped": "KILLED"}
"""Status of a trial → status of its run."""
DISTANCES = ("member_distance",)
"""Metrics of a trial that belong to no split."""
CONTENT = (*("key", "status", "seconds", "finished_at"), *("val_nll", "val_accuracy", "test_nll", "test_accuracy"))
"""Columns that tell one execution of a trial from another."""


class MetricPoint(NamedTuple):
    """One value of a metric, with the fields of MLflow's `Metric` in its order."""

    name: str
    value: float
    stamp: int
    """Milliseconds since 1970."""
    step: int


@dataclass(frozen=True)
class RunRecord:
    """The run of one trial: the same whenever it is made from the same tables."""

    key: str
    began: int
    """Milliseconds since 1970."""
    ended: int
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    labels: dict[str, str]
    """Name and note for readers, set when the run is created; users may change them."""
    points: list[MetricPoint]
    files: dict[str, Path]
    """Folder among the run's artifacts → the file to put there under its own name."""
    dataset: LoggedDataset | None = None
    """Input of the run; None if the sweep does not record its images."""


def make_record(store: Store, row: Row) -> RunRecord:
    """Make the record of a finished trial; raises UsageError if a table of it is damaged or missing."""
    key, (began, ended), manifest = row["key"], trial_times(row), read_manifest(store)
    history = _read_history(store, key)
    points = []
    for step in history:
        stamp = began + int(1000 * step["seconds"])
        scores = {name: value for name, value in step.items() if name.startswith("val_") and value is not None}
        points += [MetricPoint(metric_name(name), value, stamp, step["step"]) for name, value in scores.items()]
    # The scores of the finished ensemble come last, so that MLflow's "latest" is the final score.
    last = max((step["step"] for step in history), default=0) + 1
    points += [MetricPoint(metric_name(name), float(row[name]), ended, last) for name in final_metrics(row)]
    return RunRecord(
        key,
        began,
        ended,
        ENDED[row["status"]],
        {name: str(row[name]) for name in _param_names(row)},
        {name: str(row[name]) for name in _tag_names(row)} | {"content": row_content(row)} | source_tags(row),
        run_labels(store, row, manifest),
        points,
        {f"tables/{table}": path for table in SCHEMAS if (path := store.table_path(table, key)).exists()},
        describe_dataset(manifest),
    )


def source_tags(row: Row) -> dict[str, str]:
    """Tags from which MLflow shows the program of a run, and its commit if the row knows it."""
    commit = {COMMIT: row["commit"]} if row.get("commit") else {}
    return {SOURCE_NAME: PROGRAM, SOURCE_TYPE: "LOCAL", **commit}


def read_manifest(store: Store) -> dict[str, Any]:
    """Read the manifest of a sweep; empty if it is missing or damaged."""
    return read_object(store.folder / "sweep.json")


def run_labels(store: Store, row: Row, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Make the name of a trial's run, and its note, from its row or its settings."""
    note = f"Trial `{row['key']}` of sweep {store.name}: `{PROGRAM} show {row['key']}` shows its settings and scores."
    return {RUN_NAME: run_name(row, manifest), NOTE: note}


def with_columns_as_names(record: RunRecord) -> RunRecord:
    """Return the record as older versions wrote it, whose metrics had the names of their columns."""
    return replace(record, points=[point._replace(name=column_of(point.name)) for point in record.points])


def _read_history(store: Store, key: str) -> list[Row]:
    try:
        rows: list[Row] = store.table("history", key).to_pylist()
        return rows
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{store.table_path('history', key)}: damaged or missing ({' '.join(str(error).split())[:100]}); "
            "rerun the command that started the sweep, which runs this trial again"
        ) from error


def trial_times(row: Row) -> tuple[int, int]:
    """Start and end of a trial in milliseconds since 1970, which tell two runs of a trial apart."""
    ended = int(row["finished_at"].timestamp() * 1000)
    return ended - int(1000 * (row["seconds"] or 0)), ended


def row_content(row: Row) -> str:
    """16 hex digits that differ between two executions of a trial; a run keeps them as its tag `content`."""
    values = {name: row.get(name) for name in CONTENT} | {"finished_at": row["finished_at"].timestamp()}
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


def final_metrics(row: Row) -> list[str]:
    """Columns of a trial's row that are logged as final metrics: scores and costs."""
    return [name for name, value in row.items() if value is not None and _is_metric(name)]


def _is_metric(name: str) -> bool:
    return is_score(name) or name in (*COSTS, *DISTANCES)


def _param_names(row: Row) -> list[str]:
    names = {*IDENTITY_PARAMS, *(spec.name for spec in list_hyperparameters())}
    return [name for name in row if name in names and row[name] is not None]


def _tag_names(row: Row) -> list[str]:
    logged = {*final_metrics(row), *_param_names(row)}
    return [name for name, value in row.items() if value is not None and name not in logged]
