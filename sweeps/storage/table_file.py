"""A result table as a Parquet file with a checksum (see `checksum`); other Parquet readers ignore the checksum."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from sweeps.storage.checksum import add_checksum, has_checksum, is_intact

ONE_ROW: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""Parquet options: compression, dictionaries and statistics cost more than they save for one row."""


SIBLINGS = ("trials", "members", "history", "paths")
"""Tables that are looked at for a checksum: every trial has them."""
YOUNGER_COLUMN = "ensemble_key"
"""A column of `trials` that was added after the checksum: a launcher writes it into files with a checksum only."""


def encode_table(table: pa.Table) -> bytes:
    """Encode a table as a file."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, **(ONE_ROW if table.num_rows == 1 else {"compression": "zstd"}))
    return add_checksum(buffer.getvalue())


def decode_table(content: bytes, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Decode a file, or those of these columns that it has; None if its checksum fails.

    Raises pa.ArrowException for an older file, without a checksum, that is not Parquet.
    """
    if not is_intact(content):
        return None
    # Not `read_table`, whose threads and dataset cost three times the reading of a single row.
    return pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read(columns and list(columns), use_threads=False)


def is_rewritten(file: Path, content: bytes) -> bool:
    """Tell whether another program has written a table of a trial again: it has no checksum, and should have one.

    A launcher writes the tables of a trial together, so all of them have a checksum, or none in the first versions.
    """
    if has_checksum(content):
        return False
    siblings = {table: file.parents[1] / table / file.name for table in SIBLINGS}
    return _has_younger_column(siblings["trials"]) or any(map(_has_checksum, siblings.values()))


def _has_checksum(file: Path) -> bool:
    try:
        return has_checksum(file.read_bytes())
    except OSError:
        return False


def _has_younger_column(row: Path) -> bool:
    try:
        return YOUNGER_COLUMN in pyarrow.parquet.read_schema(row).names
    except (OSError, pa.ArrowException):
        return False
