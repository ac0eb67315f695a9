"""Cache of all `trials` rows in one file, so that ten thousand trials are read at once.

The trials' own files are the source of truth. The cache records size, date and CRC-32 of each; changed and new files
are read again, and a file with a new date is compared by its CRC, as in a copied folder. A launcher adds the rows of
its trials while it runs: reading ten thousand files takes a minute or two. The cache can be deleted at any time.
"""

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from basin.files import replace_atomically
from sweeps.storage.table_file import decode_table, is_rewritten

FILE, SIZE, DATE, CRC = STAMP = ("_file", "_size", "_mtime_ns", "_crc32")
"""Columns of the cache with the file of a row, its size, its date and the CRC-32 of its bytes."""
WORTH = 32
"""New files from which on the cache is written again."""
GROWTH = 0.1
"""New rows, as a share of the known ones, at which a launcher writes the cache."""
BATCH = 500
"""Files concatenated at a time, which limits the number of tables in memory."""

Stamps = dict[str, tuple[int, int]]
"""File → size in bytes, and modification time in nanoseconds."""


def read_trials(folder: Path) -> pa.Table:
    """Read the rows of all finished trials of a sweep, sorted by file name.

    Damaged files are skipped, and so are files that a user has put there: those without exactly the row of their name.
    Raises pa.ArrowTypeError, naming the file, for a column of another type.
    """
    try:
        return _read_trials(folder)
    except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise pa.ArrowTypeError(_name_other_type(folder / "tables" / "trials", error)) from error


def _read_trials(folder: Path) -> pa.Table:
    trials, compact = folder / "tables" / "trials", compact_path(folder)
    stamps = _file_stamps(trials)
    cached, renewed = _cached_rows(compact, trials, stamps)
    known = set() if cached is None else set(cached[FILE].to_pylist())
    new = _read_batches(trials, {name: stamps[name] for name in sorted(stamps.keys() - known)})
    parts = [part for part in (cached, *new) if part is not None]
    if not parts:
        return pa.table({})
    table = parts[0]
    if new:
        table = _concatenate(parts).sort_by(FILE)
    if renewed + sum(part.num_rows for part in new) >= WORTH:
        _write_cache(compact, table)
    return table.drop_columns(list(STAMP))


class RowCollector:
    """Adds the rows of a launcher's trials to the cache as they finish."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._known, self._new = folder, 0, 0

    def count_trial(self) -> None:
        """Count a finished trial; read the new rows and write the cache once there are enough."""
        self._new += 1
        if self._new >= max(WORTH, GROWTH * self._known):
            with suppress(OSError, pa.ArrowException):  # a reader reports it
                self._known = read_trials(self._folder).num_rows
            self._new = 0


def _name_other_type(trials: Path, error: Exception) -> str:
    """Name the first file with a column that does not fit the type which most files have."""
    read = {name: _read_file(trials / name) for name in sorted(_file_stamps(trials))}
    schemas = {name: row[0].schema for name, row in read.items() if row}
    types: dict[str, Counter[pa.DataType]] = {}
    for schema in schemas.values():
        for field in schema:
            types.setdefault(field.name, Counter())[field.type] += 1
    for name, schema in schemas.items():
        for field in schema:
            usual = types[field.name].most_common(1)[0][0]
            if not _fit_together(field, usual):
                return (
                    f"{trials / name}: column {field.name} is {field.type}, elsewhere {usual}; restore the file, "
                    "or remove it and rerun the command that started the sweep"
                )
    return f"{trials}: the rows of its files do not fit into one table: {' '.join(str(error).split())[:200]}"


def _fit_together(field: pa.Field, other: pa.DataType) -> bool:
    try:
        pa.unify_schemas([pa.schema([field]), pa.schema([field.with_type(other)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return True


def compact_path(folder: Path) -> Path:
    """Path of the cache in a sweep's folder."""
    return folder / "compact" / "trials.parquet"


def _file_stamps(folder: Path) -> Stamps:
    """Files of the finished trials."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        stats = [(entry.name, entry.stat()) for entry in entries if _is_part(entry.name)]
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}


def _is_part(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _cached_rows(compact: Path, folder: Path, current: Stamps) -> tuple[pa.Table | None, int]:
    """Rows of the cache whose own files are unchanged; and how many of these files have a new date."""
    table = _read_cache(compact)
    if table is None:
        return None, 0
    stamps = zip(*(table[name].to_pylist() for name in ("key", *STAMP)), strict=True)
    same = [
        name == f"{key}.parquet" and _is_unchanged(folder / name, known, current.get(name))
        for key, name, *known in stamps
    ]
    if not all(same):
        table = table.filter(pa.array(same, pa.bool_()))
    dates = pa.array([current[name][1] for name in table[FILE].to_pylist()], pa.int64())
    renewed = pyarrow.compute.sum(pyarrow.compute.not_equal(dates, table[DATE])).as_py() or 0
    return table.set_column(table.schema.get_field_index(DATE), DATE, dates), renewed


def _read_cache(compact: Path) -> pa.Table | None:
    try:
        with pyarrow.parquet.ParquetFile(compact, page_checksum_verification=True) as file:
            table = file.read()
    except (OSError, pa.ArrowException):
        return None
    if CRC not in table.column_names:  # of an earlier version
        table = table.append_column(CRC, pa.nulls(table.num_rows, pa.int64()))
    return table if {"key", *STAMP} <= set(table.column_names) else None


def _is_unchanged(file: Path, known: Sequence[int | None], now: tuple[int, int] | None) -> bool:
    """Tell whether a file has the size, and the date or the content, that the cache knows."""
    size, date, crc = known
    if now is None or now[0] != size:
        return False
    return now[1] == date or (crc is not None and _file_crc(file) == crc)


def _file_crc(file: Path) -> int | None:
    try:
        return zlib.crc32(file.read_bytes())
    except OSError:
        return None


def _read_batches(folder: Path, stamps: Stamps) -> list[pa.Table]:
    """Rows of these files, `BATCH` files per table: the metadata of 300 columns need more memory than one row."""
    names = list(stamps)
    parts = [_read_batch(folder, names[at : at + BATCH], stamps) for at in range(0, len(names), BATCH)]
    return [part for part in parts if part is not None]


def _read_batch(folder: Path, names: list[str], stamps: Stamps) -> pa.Table | None:
    # No threads: six of them took twice the processor time and more wall time.
    tables: list[pa.Table] = []
    rows: list[tuple[str, int, int, int]] = []
    for name in names:
        if (read := _read_file(folder / name)) is not None:
            table, crc = read
            tables.append(table)
            rows.append((name, *stamps[name], crc))
    if not rows:
        return None
    whole = _concatenate(tables)
    for column, values in zip(STAMP, zip(*rows, strict=True), strict=True):
        whole = whole.append_column(column, pa.array(values))
    return whole


def _concatenate(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables).combine_chunks()  # fast path: unifying schemas of two hundred columns is slow
    except pa.ArrowInvalid:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def is_row_of(table: pa.Table, key: str) -> bool:
    """Tell whether a table is the row of this trial."""
    return table.num_rows == 1 and "key" in table.column_names and table["key"][0].as_py() == key


def _read_file(file: Path) -> tuple[pa.Table, int] | None:
    """The row that a file is named after, and the CRC-32 of the file; None for any other file, and a changed one."""
    try:
        content = file.read_bytes()
        table = decode_table(content)
    except (OSError, pa.ArrowException):
        return None
    if table is None or not is_row_of(table, file.stem) or is_rewritten(file, content):
        return None
    return table, zlib.crc32(content)


def _write_cache(path: Path, table: pa.Table) -> None:
    """Write atomically; if the folder is read-only, reading stays slow."""
    with suppress(OSError):
        write = partial(pyarrow.parquet.write_table, table, compression="zstd", write_page_checksum=True)
        replace_atomically(path, write)
