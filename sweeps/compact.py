"""All trials' rows in one file beside the trials' own, so that ten thousand of them are read at once.

The trials' files are the record. The compact file says of each what size and date it had; what has changed since, and
what is new, is read from its own file. It can be deleted at any time.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from sweeps import single

STAMP = ("_file", "_size", "_mtime_ns")
"""Columns of the compact file that say which file a row is from, and how that file looked."""
WORTH = 32
"""Files read one by one from which on the compact file is written again."""
BATCH = 500
"""Files put together at a time, so that not all of them are held one by one."""

Stamps = dict[str, tuple[int, int]]
"""File → bytes, and time of change in nanoseconds."""


def read(folder: Path) -> pa.Table:
    """The rows of all finished trials in a sweep's folder, sorted by their files' names; torn files are passed over."""
    trials, compact = folder / "tables" / "trials", path(folder)
    there = _stamps(trials)
    kept = _unchanged(compact, there)
    known = set() if kept is None else set(kept[STAMP[0]].to_pylist())
    fresh = _fresh(trials, {name: there[name] for name in sorted(there.keys() - known)})
    parts = [part for part in (kept, *fresh) if part is not None]
    if not parts:
        return pa.table({})
    table = parts[0]
    if fresh:
        table = _concatenated(parts).sort_by(STAMP[0])
    if sum(part.num_rows for part in fresh) >= WORTH:
        _write(compact, table)
    return table.drop_columns(list(STAMP))


def path(folder: Path) -> Path:
    """Where the compact file of a sweep's folder lies, if it has one."""
    return folder / "compact" / "trials.parquet"


def _stamps(folder: Path) -> Stamps:
    """The files of finished trials."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat()) for entry in entries if _is_part(entry.name)]
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found}


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _unchanged(compact: Path, there: Stamps) -> pa.Table | None:
    """The rows of the compact file whose own files still look the same; None if there is no compact file."""
    try:
        table = pyarrow.parquet.read_table(compact, page_checksum_verification=True)
        stamps = zip(*(table[name].to_pylist() for name in STAMP), strict=True)
    except (OSError, KeyError, pa.ArrowException):
        return None
    same = [there.get(name) == (size, changed) for name, size, changed in stamps]
    return table if all(same) else table.filter(pa.array(same, pa.bool_()))


def _fresh(folder: Path, stamps: Stamps) -> list[pa.Table]:
    """The rows of these files, `BATCH` files a table: the metadata of 200 columns take more memory than one row."""
    names = list(stamps)
    parts = [_together(folder, names[at : at + BATCH], stamps) for at in range(0, len(names), BATCH)]
    return [part for part in parts if part is not None]


def _together(folder: Path, names: list[str], stamps: Stamps) -> pa.Table | None:
    # One after another: threads wait for each other, six of them take twice the processor time and more of the clock's.
    found = [(name, table) for name in names if (table := _read(folder / name)) is not None]
    if not found:
        return None
    whole = _concatenated([table for _, table in found])
    rows = [(name, *stamps[name]) for name, table in found for _ in range(table.num_rows)]
    for column, values in zip(STAMP, zip(*rows, strict=True), strict=True):
        whole = whole.append_column(column, pa.array(values))
    return whole


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables).combine_chunks()  # finding out what two hundred columns have in common is slow
    except pa.ArrowInvalid:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _read(file: Path) -> pa.Table | None:
    try:
        return single.read(file.read_bytes())
    except (OSError, pa.ArrowException):
        return None


def _write(path: Path, table: pa.Table) -> None:
    """Whole or not at all; where the folder cannot be written, reading stays slow."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="writing-") as temporary:
            pyarrow.parquet.write_table(table, Path(temporary, path.name), compression="zstd", write_page_checksum=True)
            Path(temporary, path.name).replace(path)
