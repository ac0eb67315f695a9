"""A result table as a file."""

import io
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from sweeps.storage import table_file
from sweeps.storage.checksum import add_checksum
from sweeps.storage.schemas import SCHEMAS
from tests.support.tiny_sweep import row_of, study

ROW = {"construction": "constrained", "beta": 0.5, "seed": 0}


def table(**columns: Any) -> pa.Table:
    return pa.Table.from_pylist([row_of(study(), ROW, **columns)], SCHEMAS["trials"]())


def as_parquet(content: bytes) -> pa.Table:
    return pyarrow.parquet.read_table(pa.BufferReader(content))


def bare(row: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(row, buffer)
    return buffer.getvalue()


def with_second_copy(row: pa.Table) -> bytes:
    """The row as versions before 0.3 wrote it: again as an Arrow record batch before the checksum."""
    content, batch = bare(row), row.combine_chunks().to_batches()[0].serialize().to_pybytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    second = batch + bytes(16) + len(batch).to_bytes(4, "little") + b"arrowrow"
    crc = zlib.crc32(content[:footer] + second + content[footer:]).to_bytes(4, "little")
    return content[:footer] + second + b"checksum" + crc + content[footer:]


def test_a_row_is_read_as_it_was_written_to_the_last_description() -> None:
    whole = table(val_accuracy=float("nan"), test_nll=0.1 + 0.2, host="größer", finished_at=datetime.now(UTC))
    content = table_file.encode_table(whole)
    for found in (table_file.decode_table(content), as_parquet(content)):
        assert found is not None
        assert found.schema.equals(whole.schema, check_metadata=True)
        assert str(found.to_pylist()) == str(whole.to_pylist())


def test_a_slice_of_a_table_brings_its_own_row_only() -> None:
    rows = pa.concat_tables([table(val_accuracy=float(number)) for number in range(100)]).combine_chunks()
    content = table_file.encode_table(rows.slice(42, 1))
    found = table_file.decode_table(content)
    assert found is not None
    assert found["val_accuracy"].to_pylist() == [42.0]
    assert len(content) < 1.1 * len(table_file.encode_table(table()))


@pytest.mark.parametrize(
    "write",
    [bare, lambda row: add_checksum(bare(row)), with_second_copy],
    ids=["no checksum", "checksum only", "row twice"],
)
def test_files_of_earlier_versions_are_read(write: Any) -> None:
    whole = table(val_accuracy=3.0)
    found = table_file.decode_table(write(whole))
    assert found is not None
    assert found.equals(whole)


@pytest.mark.parametrize("write", [table_file.encode_table, with_second_copy], ids=["today's", "row twice"])
def test_a_changed_byte_is_noticed(write: Any) -> None:
    content = write(pa.table({"a": [1.5], "b": ["x"]}))
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        found = None
        try:
            found = table_file.decode_table(bytes(changed))
        except pa.ArrowException:
            continue
        assert found is None or found.to_pylist() == [{"a": 1.5, "b": "x"}], position


def test_others_read_the_file(tmp_path: Path) -> None:
    import duckdb
    import pandas

    path = tmp_path / "row.parquet"
    path.write_bytes(table_file.encode_table(table(val_accuracy=4.5)))
    assert pandas.read_parquet(path)["val_accuracy"].tolist() == [4.5]
    assert duckdb.sql(f"select val_accuracy from '{path}'").fetchall() == [(4.5,)]


@pytest.mark.parametrize("younger", [True, False])
def test_a_trial_rewritten_as_a_whole_is_noticed(younger: bool, tmp_path: Path) -> None:
    """Files of the first versions have no checksum either, but fewer columns."""
    whole = table() if younger else table().drop_columns([table_file.YOUNGER_COLUMN])
    for name in table_file.SIBLINGS:
        (tmp_path / name).mkdir()
        pyarrow.parquet.write_table(whole, tmp_path / name / "0.parquet")
    for name in table_file.SIBLINGS:
        file = tmp_path / name / "0.parquet"
        assert table_file.is_rewritten(file, file.read_bytes()) == younger
