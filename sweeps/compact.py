"""All trials' rows in one file beside the trials' own, so that ten thousand of them are read at once.

The trials' files are the record. The compact file says of each what size and date it had; what has changed since, and
what is new, is read from its own file. It can be deleted at any time.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from sweeps.sealing import intact

STAMP = ("_file", "_size", "_mtime_ns")
"""Columns of the compact file that say which file a row is from, and how that file looked."""
WORTH = 32
"""Files read one by one from which on the compact file is written again."""

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
        table = pa.concat_tables(parts, promote_options="permissive").combine_chunks().sort_by(STAMP[0])
    if len(fresh) >= WORTH:
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
    with ThreadPoolExecutor() as pool:
        found = pool.map(_read, repeat(folder), stamps.items())
        return [table for table in found if table is not None]


def _read(folder: Path, file: tuple[str, tuple[int, int]]) -> pa.Table | None:
    name, stamp = file
    try:
        # Not `read_table`: for a single row its threads and its dataset cost three times the reading.
        content = (folder / name).read_bytes()
        if not intact(content):
            return None
        table = pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, pa.ArrowException):
        return None
    for column, value in zip(STAMP, (name, *stamp), strict=True):
        table = table.append_column(column, pa.array([value] * table.num_rows))
    return table


def _write(path: Path, table: pa.Table) -> None:
    """Whole or not at all; where the folder cannot be written, reading stays slow."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="writing-") as temporary:
            pyarrow.parquet.write_table(table, Path(temporary, path.name), compression="zstd", write_page_checksum=True)
            Path(temporary, path.name).replace(path)
