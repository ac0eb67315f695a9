"""Reading 10,000 finished trials: `launch.py best` from MLflow's SQLite, rows and figures' tables from Parquet."""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sqlite3 import connect
from typing import Annotated

from basin.spec import Bounds, Checked
from benchmarks.filling import fill_sweep
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce
from benchmarks.report import Report, Table, compare_timings
from benchmarks.timing import Contestant, time_interleaved
from sweeps.queries.best import find_best
from sweeps.storage import compact
from sweeps.storage.store import Store
from sweeps.tracking.reader import ClientReader, open_reader
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri

NAME = "made-up"
PART = 10
"""Reading file by file is timed on every tenth trial: it is linear, and slow."""
BY_HAND = """
select role.value, construction.value, x.value, y.value, tag.value
from runs
join tags tag on tag.run_uuid = runs.run_uuid and tag.key = 'key'
join tags role on role.run_uuid = runs.run_uuid and role.key = 'role'
join params construction on construction.run_uuid = runs.run_uuid and construction.key = 'construction'
join latest_metrics x on x.run_uuid = runs.run_uuid and x.key = 'connectivity/val_q_bar_reset'
join latest_metrics y on y.run_uuid = runs.run_uuid and y.key = 'val/accuracy'
where runs.experiment_id = ? and runs.status = 'FINISHED' and runs.lifecycle_stage = 'active'
"""
"""A hand-written query that selects the best trials."""
MLFLOW = "import mlflow, sys; mlflow.search_runs(sys.argv[1:], max_results=100_000)"


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of the query."""

    trials: Annotated[int, Bounds(10)] = 10_000
    """Trials of the sweep."""
    mlflow: bool = True
    """Time MLflow's client too, which takes most of the time."""
    folder: str | None = None
    """Folder in which the sweep is created and reused (none: a temporary folder)."""


def run(options: Options) -> Report:
    """Fill a store, then read it in every way."""
    settings = options.settle(Settings())
    warnings.simplefilter("ignore")  # MLflow's, of its own dependencies
    with tempfile.TemporaryDirectory() as temporary:
        storage = Path(settings.folder or temporary).resolve()
        store = Store(storage / NAME)
        if len(store.keys()) != settings.trials:
            announce(f"filling {settings.trials} trials; 10,000 in five rounds took 13 minutes (docs/performance.md)")
            fill_sweep(storage, NAME, settings.trials)
        store.rows()
        if settings.mlflow:
            _check_agreement(storage)
        tables = (
            _time_best(options, settings, storage),
            _time_rows(options, store),
            _time_commands(options, settings, storage),
        )
        size = (storage / "mlflow.db").stat().st_size + sum(path.stat().st_size for path in store.folder.rglob("*.*"))
    return Report("query", describe_machine(options.device), tables, {"trials": settings.trials, "bytes on disk": size})


def _check_agreement(storage: Path) -> None:
    """Raise AssertionError unless every way gives the same answer: what is compared must be the same work."""
    uri, store = default_uri(storage), Store(storage / NAME)
    mine = find_best(open_reader(uri, NAME), x="q_bar_reset", y="accuracy")
    theirs = find_best(ClientReader(Tracker.find_experiment(uri, NAME)), x="q_bar_reset", y="accuracy")
    assert mine == theirs, "SQL and MLflow's client disagree"
    some = store.keys()[::PART]
    rows = {row["key"]: row for row in store.rows()}
    assert all(store.row(key) == rows[key] for key in some), "the compact file and the trials' own files disagree"


def _time_best(options: Options, settings: Settings, storage: Path) -> Table:
    import mlflow

    uri = default_uri(storage)
    experiment = open_reader(uri, NAME).experiment
    mlflow.set_tracking_uri(uri)

    def direct() -> float:
        with closing(connect(storage / "mlflow.db")) as connection:
            return len(connection.execute(BY_HAND, (int(experiment),)).fetchall())

    def ours() -> float:
        find_best(open_reader(uri, NAME), x="q_bar_reset", y="accuracy")
        return len(Store(storage / NAME).keys())

    contestants: dict[str, Contestant] = {"direct SQL": direct, "best": ours}
    if settings.mlflow:
        contestants["mlflow.search_runs"] = lambda: len(mlflow.search_runs([experiment], max_results=100_000))
    return _compare_queries(options, "best: choose and show", contestants, "direct SQL")


def _time_rows(options: Options, store: Store) -> Table:
    import duckdb

    some = store.keys()[::PART]
    files = [str(store.table_path("trials", key)) for key in some]

    def direct() -> float:
        with duckdb.connect() as connection:
            return len(connection.execute("select * exclude (finished_at) from read_parquet(?)", [files]).fetchall())

    contestants: Mapping[str, Contestant] = {
        "file by file": lambda: len([store.row(key) for key in some]),
        "direct SQL (DuckDB)": direct,
        "Arrow table": lambda: compact.read_trials(store.folder).num_rows,
        "rows": lambda: len(store.rows()),
    }
    return _compare_queries(options, "rows of the trials' table", contestants, "direct SQL (DuckDB)")


def _time_commands(options: Options, settings: Settings, storage: Path) -> Table:
    uri, root = default_uri(storage), Path(__file__).resolve().parents[1]
    trials, experiment = len(Store(storage / NAME).keys()), open_reader(uri, NAME).experiment

    def command(*words: str) -> float:
        environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
        subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, check=True)
        return trials

    contestants: dict[str, Contestant] = {
        "python -c 'import torch'": partial(command, "-c", "import torch"),
        "launch.py best": partial(command, "launch.py", "best", NAME, "--storage", str(storage)),
    }
    if settings.mlflow:
        contestants["python -c mlflow.search_runs"] = partial(command, "-c", MLFLOW, experiment)
    return _compare_queries(options, "whole commands, imports included", contestants, "launch.py best")


def _compare_queries(options: Options, title: str, contestants: Mapping[str, Contestant], reference: str) -> Table:
    return compare_timings(
        title, time_interleaved(contestants, repeats=options.repeats), unit="trials", reference=reference
    )
