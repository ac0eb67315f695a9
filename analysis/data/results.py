"""Read the Parquet files of one or several sweeps: one file per trial and table.

The rows of `trials` come from the compact file, a cache that reading creates.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.data.columns import REQUIRED, column_metadata, headline_policies, useful_columns
from analysis.errors import BadInput, Missing
from basin.files import read_object
from sweeps.storage import compact
from sweeps.storage.location import remote_message
from sweeps.storage.table_file import decode_table, is_rewritten

Row = dict[str, Any]
Setting = tuple[str, str]
"""A dataset and a model: only configurations of the same setting are compared."""

DECIDING = ("accuracy", "nll", "q_bar", "barrier", "basin_upper", "basin_lower")
"""Metrics that are always read on validation, because selection uses them."""

CLASS_FOLDERS = "imagefolder"
"""The dataset of any images in class folders, which says nothing about them."""
ARCHIVE_SUFFIX = re.compile(r"(\.tar)?\.(zip|tar|tgz|gz|xz|bz2)$")

BATCH = 1000
"""Files concatenated at a time, to limit the number of small tables in memory."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Finished trials of one or several sweeps; other tables are read on demand."""

    folder: Path
    trials: pa.Table
    split: str = "test"
    """Split that figures and tables report. Selection always uses validation."""
    more: tuple[Path, ...] = ()
    """Folders of the other sweeps."""
    margin: float | None = None
    """Margin of the verdicts in accuracy points; None takes each study's own."""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Hash of the images → what their dataset is called."""

    @cached_property
    def rows(self) -> list[Row]:
        """One dict per trial, sorted by key; numbers that are not finite are None."""
        columns = {name: _finite_values(self.trials[name]) for name in self.trials.column_names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        unique = {row["key"]: row for row in reversed(rows)}  # a trial of two sweeps is one trial
        named = _with_norm(_with_dataset(list(unique.values()), self.datasets))
        return sorted(named, key=lambda row: row["key"])

    @property
    def constructions(self) -> list[str]:
        """Every construction that has a finished trial, sorted."""
        return sorted({row["construction"] for row in self.rows})

    @property
    def settings(self) -> list[Setting]:
        """Every (dataset, model) that has a finished trial, sorted."""
        return sorted({(row["dataset"], row["model"]) for row in self.rows})

    @cached_property
    def policies(self) -> tuple[str, ...]:
        """BatchNorm policies of headline connectivity numbers, the preferred one first."""
        return headline_policies(self.trials.schema)

    @cached_property
    def dismissed(self) -> frozenset[str]:
        """Keys of trials whose configuration its sweep no longer chooses, by `verdicts.json`."""
        dropped = [one["keys"] for one in self._verdict_entries if not one.get("chosen", True)]
        return frozenset(chain.from_iterable(dropped))

    def recorded_verdict(self, keys: Iterable[str]) -> Row | None:
        """Return the entry of `verdicts.json` about exactly these trials; None without one."""
        wanted = set(keys)
        return next((entry for entry in self._verdict_entries if set(entry["keys"]) == wanted), None)

    @cached_property
    def _verdict_entries(self) -> list[Row]:
        entries: list[Row] = []
        for folder in (self.folder, *self.more):
            entries += read_object(folder / "verdicts.json").values()
        return entries

    def column(self, metric: str, rows: Sequence[Row] | None = None, split: str | None = None) -> str:
        """Return the column of `metric` on the reported split, or on `split`. Raises Missing if no row has it.

        `q_bar`, `q_min` and `barrier` take the headline BatchNorm policy that these rows have.
        """
        start = f"{split or self.split}_{metric}"
        names = [start, *(f"{start}_{policy}" for policy in self.policies)]
        for name in names:
            if any(row.get(name) is not None for row in (self.rows if rows is None else rows)):
                return name
        raise Missing(f"no finished trial has {' or '.join(names)}")

    def load(self, table: str, keys: Iterable[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of another table (`members`, `paths`, …) of these trials. Raises Missing without any.

        With `columns`, only these are decoded, which takes most of the time where trials are many.
        """
        keys = list(keys)
        files = [file for key in keys if (file := self._file(table, key))]
        if not files:
            raise Missing(f"none of the {len(keys)} trials has a file in tables/{table}")
        return _concatenate_files(files, columns)

    def _file(self, table: str, key: str) -> Path | None:
        """Return where a trial's rows of a table are, in the first folder that has them."""
        for folder in (self.folder, *self.more):
            file = folder / "tables" / table / f"{key}.parquet"
            if file.exists():
                return file
        return None

    def unit(self, column: str) -> str:
        """Return the unit in the column's metadata, or an empty text."""
        return column_metadata(self.trials.schema, column, "unit")


def read_tables(
    results: str | Path,
    split: str = "test",
    more: Iterable[str | Path] = (),
    margin: float | None = None,
    datasets: Mapping[str, str] | None = None,
) -> Tables:
    """Read the finished trials in the folder `results`, with those of the folders `more`.

    `datasets` names images by their hash; others keep the name of the class that reads them.

    Raises BadInput if a folder has none or a file is corrupt.
    """
    first, *others = folders = [Path(folder) for folder in (results, *more)]
    trials = _promote_types([_read_trials(folder, split) for folder in folders], first)
    return Tables(first, trials, split, tuple(others), margin, datasets or {})


def source_names(folders: Iterable[Path]) -> dict[str, str]:
    """Return the name of each sweep's folder or archive of images, by the hash of the images.

    Only class folders are called so: the class that reads any other dataset has its name.
    """
    names: dict[str, str] = {}
    for folder in folders:
        data = read_object(folder / "sweep.json", "data")
        if data.get("dataset") == CLASS_FOLDERS and data.get("source"):
            names.setdefault(str(data.get("hash")), ARCHIVE_SUFFIX.sub("", Path(str(data["source"])).name))
    return names


def _read_trials(folder: Path, split: str) -> pa.Table:
    if words := remote_message(folder):
        raise BadInput(words)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    try:
        table = compact.read_trials(folder)
    except pa.ArrowException as error:
        raise BadInput(f"files disagree on a column's type: {error}") from None
    _all_there(folder, table)
    if table.num_rows == 0:
        raise BadInput(f"{folder}: no finished trials (expected {folder}/tables/trials/KEY.parquet)")
    absent = [name for name in REQUIRED if name not in table.column_names]
    if absent:
        raise BadInput(f"{folder}/tables/trials: columns {', '.join(absent)} are missing")
    return table.select(useful_columns(table.schema, split, DECIDING))


def _all_there(folder: Path, table: pa.Table) -> None:
    """Raise BadInput if a file was skipped because it cannot be read."""
    keys = set(table["key"].to_pylist()) if "key" in table.column_names else set()
    for file in sorted(folder.glob("tables/trials/*.parquet")):
        if file.stem not in keys and not file.name.startswith((".", "_")):
            read_file(file)


def _concatenate_files(files: Sequence[Path], columns: Sequence[str] | None) -> pa.Table:
    parts = []
    for start in range(0, len(files), BATCH):
        tables = [read_file(file, columns) for file in files[start : start + BATCH]]
        parts.append(_promote_types(tables, files[0].parent).combine_chunks())
    return _promote_types(parts, files[0].parent)


def _promote_types(tables: Sequence[pa.Table], where: Path) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise BadInput(f"{where}: files disagree on a column's type: {_one_line(error)}") from None


def read_file(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one table; raises BadInput for a file that is damaged, or that another program has written."""
    try:
        content = file.read_bytes()
        table = decode_table(content, columns)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{file}: not a readable Parquet file: {_one_line(error)}") from None
    if table is None:
        raise BadInput(f"{file}: damaged Parquet file: it is incomplete or was changed (its checksum fails)")
    if is_rewritten(file, content):
        raise BadInput(f"{file}: another program has written this table again (it has no checksum); restore the file")
    return table


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _with_dataset(rows: list[Row], names: Mapping[str, str]) -> list[Row]:
    """Return rows whose dataset has the name that its images are known by."""
    for row in rows:
        row["dataset"] = names.get(str(row.get("data_hash")), row["dataset"])
    return rows


def _with_norm(rows: list[Row]) -> list[Row]:
    """Return rows whose model names its normalisation if the model was trained with several."""
    norms: dict[Any, set[Any]] = {}
    for row in rows:
        norms.setdefault(row["model"], set()).add(row.get("norm"))
    for row in rows:
        if len(norms[row["model"]]) > 1:
            row["model"] = f"{row['model']} ({row['norm']} norm)"
    return rows


def _finite_values(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
