"""A row's file, and the second copy of the row in it."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from tiny_sweep import row_of, study

from sweeps import single
from sweeps.schemas import SCHEMAS
from sweeps.sealing import seal

ROW = {"construction": "constrained", "beta": 0.5, "seed": 0}


def table(**columns: Any) -> pa.Table:
    return pa.Table.from_pylist([row_of(study(), ROW, **columns)], SCHEMAS["trials"]())


def as_parquet(content: bytes) -> pa.Table:
    return pyarrow.parquet.read_table(pa.BufferReader(content))


def bare(row: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(row, buffer)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process that has read nothing yet."""
    monkeypatch.setattr(single, "_schemas", {})


def test_both_copies_are_the_same_to_the_last_description() -> None:
    whole = table(val_accuracy=float("nan"), test_nll=0.1 + 0.2, host="größer", finished_at=datetime.now(UTC))
    content = single.written(whole)
    first, second = single.read(content), single.read(content)
    assert first is not None
    assert second is not None
    for found in (first, second, as_parquet(content)):
        assert found.schema.equals(whole.schema, check_metadata=True)
        assert str(found.to_pylist()) == str(whole.to_pylist())


def test_the_second_copy_is_what_is_read_where_its_schema_is_known() -> None:
    mixed = seal(bare(table(val_accuracy=1.0)), single._packed(table(val_accuracy=2.0)))
    values = [found["val_accuracy"][0].as_py() for _ in range(2) if (found := single.read(mixed)) is not None]
    assert values == [1.0, 2.0]


def test_a_slice_of_a_table_brings_its_own_row_only() -> None:
    rows = pa.concat_tables([table(val_accuracy=float(number)) for number in range(100)]).combine_chunks()
    content = single.written(rows.slice(42, 1))
    for _ in range(2):
        found = single.read(content)
        assert found is not None
        assert found["val_accuracy"].to_pylist() == [42.0]
    assert len(content) < 1.1 * len(single.written(table()))


def test_schemas_that_differ_in_a_unit_alone_are_two() -> None:
    made = [pa.table({"a": [1]}, pa.schema([pa.field("a", pa.int64(), metadata={"unit": u})])) for u in ("s", "ms")]
    for whole in (*made, *made):
        found = single.read(single.written(whole))
        assert found is not None
        assert found.schema.field("a").metadata == whole.schema.field("a").metadata


@pytest.mark.parametrize("write", [bare, lambda row: seal(bare(row))], ids=["no checksum", "checksum only"])
def test_older_files_are_read(write: Any) -> None:
    whole = table(val_accuracy=3.0)
    single.read(single.written(whole))
    found = single.read(write(whole))
    assert found is not None
    assert found.equals(whole)


def test_a_changed_byte_of_the_second_copy_is_noticed() -> None:
    content = single.written(pa.table({"a": [1.5], "b": ["x"]}))
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        found = None
        try:
            found = single.read(bytes(changed))
        except pa.ArrowException:
            continue
        assert found is None or found.to_pylist() == [{"a": 1.5, "b": "x"}], position


def test_others_read_the_file(tmp_path: Path) -> None:
    import duckdb
    import pandas

    path = tmp_path / "row.parquet"
    path.write_bytes(single.written(table(val_accuracy=4.5)))
    assert pandas.read_parquet(path)["val_accuracy"].tolist() == [4.5]
    assert duckdb.sql(f"select val_accuracy from '{path}'").fetchall() == [(4.5,)]
