"""Reads a sweep's Parquet files: one a trial and table."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import BadInput, Missing

Row = dict[str, Any]
Setting = tuple[str, str]
"""A dataset and a model: what may be compared within."""

REQUIRED = ("key", "role", "dataset", "model", "construction", "seed")
POLICIES = ("reset", "none")
"""BatchNorm policies of headline connectivity numbers: `reset`, or `none` where a model has no batch statistics."""


@dataclass(frozen=True)
class Tables:
    """The finished trials of one sweep; other tables are read when asked for."""

    folder: Path
    trials: pa.Table
    split: str = "test"
    """The split that figures and tables report; validation decides, whatever is reported."""

    @cached_property
    def rows(self) -> list[Row]:
        """One dict a trial, sorted by key; a number that is not finite is None."""
        rows = [{name: _clean(value) for name, value in row.items()} for row in self.trials.to_pylist()]
        return sorted(rows, key=lambda row: row["key"])

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
        files = [self.folder / "tables" / table / f"{key}.parquet" for key in keys]
        found = [file for file in files if file.exists()]
        if not found:
            raise Missing(f"none of the {len(files)} trials has a file in tables/{table}")
        return _concat(found)

    def unit(self, column: str) -> str:
        """The unit that the column's metadata names, or an empty text."""
        return metadata(self.trials.schema, column, "unit")


def read(results: str | Path, split: str = "test") -> Tables:
    """The finished trials in the folder `results`; raises BadInput if there are none or a file is corrupt."""
    folder = Path(results)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    files = sorted(file for file in folder.glob("tables/trials/*.parquet") if not file.name.startswith((".", "_")))
    trials = _concat(files) if files else pa.table({})
    if trials.num_rows == 0:
        raise BadInput(f"{folder}: no finished trials (expected {folder}/tables/trials/KEY.parquet)")
    absent = [name for name in REQUIRED if name not in trials.column_names]
    if absent:
        raise BadInput(f"{folder}/tables/trials: columns {', '.join(absent)} are missing")
    return Tables(folder, trials, split)


def _concat(files: Sequence[Path]) -> pa.Table:
    with ThreadPoolExecutor() as pool:
        tables = list(pool.map(_read, files))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise BadInput(f"{files[0].parent}: files disagree on a column's type: {_line(error)}") from None


def _read(file: Path) -> pa.Table:
    try:
        return pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{file}: not a readable Parquet file: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def metadata(schema: pa.Schema, column: str, what: str) -> str:
    """What a column's field metadata says under `what` (`unit`, `doc`, `kind`), or an empty text."""
    if column not in schema.names:
        return ""
    return (schema.field(column).metadata or {}).get(what.encode(), b"").decode()


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
