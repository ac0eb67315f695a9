"""Reads the Parquet files of one sweep, or of several together: one a trial and table.

The rows of the trials come by their compact file, which reading them leaves behind.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.errors import BadInput, Missing
from sweeps import compact, single
from sweeps.away import away

Row = dict[str, Any]
Setting = tuple[str, str]
"""A dataset and a model: what may be compared within."""

REQUIRED = ("key", "role", "dataset", "model", "construction", "seed")
POLICIES = ("reset", "none")
"""BatchNorm policies of headline connectivity numbers: `reset`, or `none` where a model has no batch statistics."""
DECIDING = ("accuracy", "nll", "q_bar", "barrier", "instability")
"""Metrics of the validation split that are read when another is reported: those by which something is chosen."""

BATCH = 1000
"""Files put together at a time, so that not all of them are held one by one."""


@dataclass(frozen=True, eq=False)
class Tables:
    """The finished trials of one sweep, or of several; other tables are read when asked for."""

    folder: Path
    trials: pa.Table
    split: str = "test"
    """The split that figures and tables report; validation decides, whatever is reported."""
    more: tuple[Path, ...] = ()
    """Folders of the sweeps read together with the first."""

    @cached_property
    def rows(self) -> list[Row]:
        """One dict a trial, sorted by key; a number that is not finite is None."""
        columns = {name: [_clean(v) for v in self.trials[name].to_pylist()] for name in self.trials.column_names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        unique = {row["key"]: row for row in reversed(rows)}  # a trial of two sweeps is one trial
        return sorted(_with_norm(list(unique.values())), key=lambda row: row["key"])

    @property
    def constructions(self) -> list[str]:
        """Every construction that has a finished trial, sorted."""
        return sorted({row["construction"] for row in self.rows})

    @property
    def settings(self) -> list[Setting]:
        """Every (dataset, model) that has a finished trial, sorted."""
        return sorted({(row["dataset"], row["model"]) for row in self.rows})

    def column(self, metric: str, rows: Sequence[Row] | None = None, split: str | None = None) -> str:
        """The column of `metric` on the reported split, or on `split`; raises Missing if none of the rows has it.

        `q_bar`, `q_min` and `barrier` take the headline BatchNorm policy that these rows have.
        """
        start = f"{split or self.split}_{metric}"
        names = [start, *(f"{start}_{policy}" for policy in POLICIES)]
        for name in names:
            if any(row.get(name) is not None for row in (self.rows if rows is None else rows)):
                return name
        raise Missing(f"no finished trial has {' or '.join(names)}")

    def load(self, table: str, keys: Iterable[str]) -> pa.Table:
        """The rows of another table (`members`, `paths`, …) of these trials; raises Missing if there are none."""
        keys = list(keys)
        places = [
            [folder / "tables" / table / f"{key}.parquet" for folder in (self.folder, *self.more)] for key in keys
        ]
        found = [file for place in places if (file := next((file for file in place if file.exists()), None))]
        if not found:
            raise Missing(f"none of the {len(keys)} trials has a file in tables/{table}")
        return _concat(found)

    def unit(self, column: str) -> str:
        """The unit that the column's metadata names, or an empty text."""
        return metadata(self.trials.schema, column, "unit")


def read(results: str | Path, split: str = "test", more: Iterable[str | Path] = ()) -> Tables:
    """The finished trials in the folder `results`, with those of the folders `more`.

    Raises BadInput if a folder has none or a file is corrupt.
    """
    first, *others = folders = [Path(folder) for folder in (results, *more)]
    trials = _promoted([_trials(folder, split) for folder in folders], first)
    return Tables(first, trials, split, tuple(others))


def _trials(folder: Path, split: str) -> pa.Table:
    if words := away(folder):
        raise BadInput(words)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    try:
        table = compact.read(folder)
    except pa.ArrowException as error:
        raise BadInput(f"{folder}/tables/trials: files disagree on a column's type: {_line(error)}") from None
    _all_there(folder, table)
    if table.num_rows == 0:
        raise BadInput(f"{folder}: no finished trials (expected {folder}/tables/trials/KEY.parquet)")
    absent = [name for name in REQUIRED if name not in table.column_names]
    if absent:
        raise BadInput(f"{folder}/tables/trials: columns {', '.join(absent)} are missing")
    return table.select([name for name in table.column_names if _of_use(table.schema, name, split)])


def _all_there(folder: Path, table: pa.Table) -> None:
    """Raises BadInput for a file whose rows were passed over because it cannot be read."""
    keys = set(table["key"].to_pylist()) if "key" in table.column_names else set()
    for file in sorted(folder.glob("tables/trials/*.parquet")):
        if file.stem not in keys and not file.name.startswith((".", "_")):
            _read(file)


def _concat(files: Sequence[Path]) -> pa.Table:
    parts = []
    for start in range(0, len(files), BATCH):
        tables = [_read(file) for file in files[start : start + BATCH]]
        parts.append(_promoted(tables, files[0].parent).combine_chunks())
    return _promoted(parts, files[0].parent)


def _promoted(tables: Sequence[pa.Table], where: Path) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise BadInput(f"{where}: files disagree on a column's type: {_line(error)}") from None


def _read(file: Path) -> pa.Table:
    try:
        table = single.read(file.read_bytes())
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{file}: not a readable Parquet file: {_line(error)}") from None
    if table is None:
        raise BadInput(f"{file}: not a readable Parquet file: torn, or not as it was written")
    return table


def _of_use(schema: pa.Schema, name: str, split: str) -> bool:
    start, _, metric = name.partition("_")
    if start not in ("train", "val", "test") or metadata(schema, name, "kind") == "hyperparameter" or start == split:
        return True
    return (start == "val" and metric.removesuffix("_reset").removesuffix("_none") in DECIDING) or metric.endswith(
        "size"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def metadata(schema: pa.Schema, column: str, what: str) -> str:
    """What a column's field metadata says under `what` (`unit`, `doc`, `kind`), or an empty text."""
    if column not in schema.names:
        return ""
    return str((schema.field(column).metadata or {}).get(what.encode(), b"").decode())


def _with_norm(rows: list[Row]) -> list[Row]:
    """Rows whose model names its normalisation too, where a model was trained with more than one."""
    norms: dict[Any, set[Any]] = {}
    for row in rows:
        norms.setdefault(row["model"], set()).add(row.get("norm"))
    for row in rows:
        if len(norms[row["model"]]) > 1:
            row["model"] = f"{row['model']} ({row['norm']} norm)"
    return rows


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
