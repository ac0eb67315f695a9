"""All rows at once, against reading each trial's own file."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from tiny_sweep import put, row_of, study

from sweeps import compact
from sweeps.store import Row, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """More finished trials than are read one by one."""
    made = Store(tmp_path / "demo")
    for number in range(compact.WORTH + 3):
        put(made, numbered(number))
    return made


def numbered(number: int, **columns: object) -> Row:
    changes = {"construction": "constrained", "beta": 0.5 + number, "seed": 0}
    return row_of(study(), changes, val_accuracy=float(number), **columns)


def one_by_one(store: Store) -> list[Row]:
    rows = map(store.row, store.keys())
    return [row for row in rows if row]


def compacted(store: Store) -> Path:
    return store.folder / "compact" / "trials.parquet"


def test_rows_are_those_of_the_files(store: Store) -> None:
    assert len(one_by_one(store)) == compact.WORTH + 3
    assert not compacted(store).exists()
    assert store.rows() == one_by_one(store)
    assert compacted(store).exists()
    assert store.rows() == one_by_one(store)
    assert [path.name for path in compacted(store).parent.iterdir()] == ["trials.parquet"]


def test_the_compact_file_is_what_is_read(store: Store) -> None:
    """A file's content that changes without its size and date is not noticed: nothing else is opened."""
    store.rows()
    path = store.path("trials", store.keys()[0])
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(b"0" * len(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(store.rows()) == len(store.keys())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert len(store.rows()) == len(store.keys()) - 1


def test_new_changed_and_removed_trials_are_seen_at_once(store: Store) -> None:
    before = store.rows()
    put(store, numbered(1000))
    put(store, numbered(3, role="replicate"))
    store.path("trials", str(numbered(5)["key"])).unlink()
    rows = store.rows()
    assert rows == one_by_one(store)
    assert len(rows) == len(before)
    assert {row["val_accuracy"] for row in rows} == {*range(compact.WORTH + 3), 1000} - {5}
    assert [row["val_accuracy"] for row in rows if row["role"] == "replicate"] == [3.0]


def test_few_new_trials_do_not_write_the_file_again(store: Store) -> None:
    store.rows()
    before = compacted(store).stat().st_mtime_ns
    put(store, numbered(1000))
    store.rows()
    assert compacted(store).stat().st_mtime_ns == before
    for number in range(2000, 2000 + compact.WORTH):
        put(store, numbered(number))
    assert store.rows() == one_by_one(store)
    assert compacted(store).stat().st_mtime_ns > before


def test_torn_files_are_passed_over(store: Store) -> None:
    key = store.keys()[1]
    path = store.path("trials", key)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert key not in {row["key"] for row in store.rows()}
    path.write_bytes(whole)
    assert store.rows() == one_by_one(store)
    assert key in {row["key"] for row in store.rows()}


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_torn_compact_file_is_made_again(content: bytes, store: Store) -> None:
    store.rows()
    compacted(store).write_bytes(content)
    assert store.rows() == one_by_one(store)
    assert pyarrow.parquet.read_table(compacted(store)).num_rows == len(store.keys())


def test_where_it_cannot_be_written_rows_are_read(store: Store) -> None:
    (store.folder / "compact").write_text("a file is in the way")
    assert store.rows() == one_by_one(store)


def test_columns_of_a_later_version_are_empty_for_earlier_trials(store: Store) -> None:
    store.rows()
    later = store.path("trials", "later")
    table = store.table("trials", store.keys()[0])
    pyarrow.parquet.write_table(table.append_column("val_new", pa.array([1.5])), later)
    rows = store.rows()
    assert [row["val_new"] for row in rows] == [None] * (compact.WORTH + 3) + [1.5]


def test_units_and_meanings_come_along(store: Store) -> None:
    for _ in range(2):
        schema = compact.read(store.folder).schema
        assert schema.field("val_accuracy").metadata[b"unit"] == b"%"
        assert not set(compact.STAMP) & set(schema.names)


def test_nothing_there_is_an_empty_table(tmp_path: Path) -> None:
    assert compact.read(tmp_path).num_rows == 0
    assert Store(tmp_path).rows() == []
    assert not list(tmp_path.iterdir())
