"""Synthetic finished sweeps of any size: rows and MLflow runs in the real schemas, without training."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from sqlite3 import Connection, connect
from typing import Any

import pyarrow as pa

from basin.data import datasets
from basin.environment import default_cache
from sweeps.storage.columns import is_score
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Row, Store
from sweeps.study.catalog import build
from sweeps.tracking.metric_names import column_of
from sweeps.tracking.run_names import run_name
from sweeps.tracking.run_record import row_content
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = 4
"""Scores of a growing ensemble, as the quickstart has."""


def fill_sweep(storage: Path, name: str, count: int) -> Store:
    """A sweep of `count` trials in tables and in the embedded tracking store: three references, the rest searched."""
    store = Store(storage / name)
    rows = list(_made_up_rows(name, count))
    first = {row["construction"]: row["key"] for row in reversed(rows)}
    for row in rows:
        store.write_tables(row["key"], _trial_tables(row) if row["key"] in first.values() else {"trials": [row]})
    Tracker.open_experiment(default_uri(storage), store).log_missing(store, first.values())
    _copy_runs(storage / "mlflow.db", rows, first)
    return store


def _made_up_rows(name: str, count: int) -> Iterator[Row]:
    study, draw = build("quickstart", None), Random(0)
    data_hash = datasets.make("digits").decode(None, default_cache()).hash
    numbers = [field.name for field in SCHEMAS["trials"]() if is_score(field.name) and field.type == pa.float64()]
    for number in range(count):
        reference = number < 3
        changes = {"construction": "deep"} if reference else _random_point(draw)
        trial = study.resolve_trial({**changes, "seed": number if reference else 0})
        scores = {column: draw.uniform(-20, 0) if "_q_" in column else draw.uniform(0, 100) for column in numbers}
        yield {
            "key": trial.key,
            **trial.flat(),
            "data_hash": data_hash,
            "sweep": name,
            "role": "reference" if reference else "search",
            "status": "done",
            **scores,
            "passes": draw.randrange(1000),
            "seconds": draw.uniform(10, 100),
            "finished_at": BEGAN + timedelta(minutes=number),
            "commit": "0" * 40,
            "host": "made-up",
        }


def _random_point(draw: Random) -> dict[str, Any]:
    construction = draw.choice(("constrained", "distilled"))
    return {"construction": construction, "beta": 10 ** draw.uniform(-3, 1), "t": draw.random()}


def _trial_tables(row: Row) -> dict[str, list[Row]]:
    names = [name for name in SCHEMAS["history"]().names if name in row and name.startswith("val_")]
    history = [
        {"key": row["key"], "step": step, "passes": step, "seconds": float(step), **{name: row[name] for name in names}}
        for step in range(1, STEPS + 1)
    ]
    return {"trials": [row], "history": history}


def _copy_runs(database: Path, rows: list[Row], first: Mapping[str, str]) -> None:
    """MLflow's rows of each construction's first trial, written again for every other with that trial's values."""
    others = [row for row in rows if row["key"] not in first.values()]
    with closing(connect(database)) as connection, connection:
        runs = dict(connection.execute("select value, run_uuid from tags where key = 'key'"))
        for table in ("runs", "tags", "params", "latest_metrics", "metrics"):
            known = {name: _select_lines(connection, table, runs[key]) for name, key in first.items()}
            made: list[list[Any]] = []
            for row in others:
                made += [list(_changed_line(table, line, row).values()) for line in known[row["construction"]]]
            if made:
                connection.executemany(f"insert into {table} values ({', '.join('?' * len(made[0]))})", made)


def _select_lines(connection: Connection, table: str, run: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f"select * from {table} where run_uuid = ?", [run])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, line, strict=True)) for line in cursor]


def _changed_line(table: str, line: dict[str, Any], row: Row) -> dict[str, Any]:
    """A line of an MLflow table as it is for another trial."""
    line = {**line, "run_uuid": row["key"] * 2}
    if table == "runs":
        ended = int(row["finished_at"].timestamp() * 1000)
        line |= {"name": run_name(row, {}), "start_time": ended - int(1000 * row["seconds"]), "end_time": ended}
    elif (value := row.get(column_of(line["key"]))) is not None:
        line["value"] = value if "metrics" in table else str(value)
    elif line["key"] == "mlflow.runName":
        line["value"] = run_name(row, {})
    elif line["key"] == "content":
        line["value"] = row_content(row)
    return line
