"""One row as a Parquet file that holds the row a second time, as Arrow keeps it in memory.

Parquet's own code takes about ten microseconds for each column of each file, whatever is in it: half a minute for two
hundred columns and ten thousand files. The second copy is decoded in a tenth of that. It lies beside the checksum (see
`sealing`) and is under it, and readers that do not know of it pass over it. Its schema is that of the Parquet footer,
which is read once for each schema.
"""

import hashlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from sweeps.sealing import SIZE, footer, intact, seal

MARK = b"arrowrow"
ID = 16
"""Bytes that say which schema a row has."""
OPTIONS: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
"""How one row is written: for each of two hundred columns these cost more than they save of it."""

_schemas: dict[bytes, pa.Schema] = {}
"""Schemas that this process has read, by their names."""


def written(row: pa.Table) -> bytes:
    """The file of a table of one row."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(row, buffer, **OPTIONS)
    return seal(buffer.getvalue(), _packed(row))


def read(content: bytes) -> pa.Table | None:
    """The rows of a Parquet file, with or without a second copy; None if it is not as it was written.

    Raises pa.ArrowException for an older file, without a checksum, that is no Parquet.
    """
    if not intact(content):
        return None
    name, second = _second(content)
    if name in _schemas:
        return pa.Table.from_batches([pa.ipc.read_record_batch(second, _schemas[name])])
    # Not `read_table`: for a single row its threads and its dataset cost three times the reading.
    table = pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    if name:
        _schemas[name] = table.schema
    return table


def _packed(row: pa.Table) -> bytes:
    """The second copy, the name of its schema, its length and the mark."""
    (batch,) = row.combine_chunks().to_batches()
    content = batch.serialize().to_pybytes()
    # Not remembered by schema: schemas are equal, and hashed alike, whatever their metadata.
    name = hashlib.sha256(row.schema.serialize()).digest()[:ID]
    return bytes(content + name + len(content).to_bytes(4, "little") + MARK)


def _second(content: bytes) -> tuple[bytes, pa.Buffer]:
    """The name of the row's schema and its second copy; nothing if there is none."""
    mark = footer(content) - SIZE - len(MARK)
    if content[max(0, mark) : mark + len(MARK)] != MARK:
        return b"", pa.py_buffer(b"")
    end = mark - 4 - ID
    size = int.from_bytes(content[mark - 4 : mark], "little")
    return content[end : mark - 4], pa.py_buffer(content[end - size : end])  # copied: the file is seven times as long
