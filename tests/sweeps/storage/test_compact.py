"""All rows at once, against reading each trial's own file."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from basin.errors import UsageError
from sweeps.storage import compact
from sweeps.storage.store import Row, Store
from sweeps.storage.table_file import encode_table
from tests.support.tiny_sweep import put, row_of, study


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
    path = store.table_path("trials", store.keys()[0])
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
    store.table_path("trials", str(numbered(5)["key"])).unlink()
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
    path = store.table_path("trials", key)
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
    later = store.table_path("trials", "f" * 16)
    table = store.table("trials", store.keys()[0])
    table = table.set_column(table.column_names.index("key"), "key", pa.array([later.stem]))
    later.write_bytes(encode_table(table.append_column("val_new", pa.array([1.5]))))
    rows = store.rows()
    assert [row["val_new"] for row in rows] == [None] * (compact.WORTH + 3) + [1.5]


def redated(store: Store) -> None:
    """As after `cp -r`: other dates."""
    for path in (store.folder / "tables" / "trials").iterdir():
        os.utime(path, ns=(0, 1_000_000_000))


def test_a_copied_folder_is_not_read_file_by_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = store.rows()
    redated(store)
    monkeypatch.setattr(compact, "decode_table", None)
    assert store.rows() == rows
    monkeypatch.setattr(compact, "_file_crc", None)
    assert store.rows() == rows, "new dates are remembered"


def test_a_changed_file_of_a_copied_folder_is_read(store: Store) -> None:
    store.rows()
    put(store, numbered(3) | {"val_accuracy": -1.0})
    redated(store)
    assert store.rows() == one_by_one(store)
    assert -1.0 in {row["val_accuracy"] for row in store.rows()}


def test_a_cache_of_an_earlier_version_is_read_and_trusted_by_its_dates(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = store.rows()
    table = pyarrow.parquet.read_table(compacted(store))
    pyarrow.parquet.write_table(table.drop_columns([compact.CRC]), compacted(store))
    with monkeypatch.context() as patched:
        patched.setattr(compact, "decode_table", None)
        assert store.rows() == rows
    redated(store)
    assert store.rows() == rows


def test_a_launcher_writes_the_rows_of_its_trials_as_they_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "WORTH", 2)
    monkeypatch.setattr(compact, "GROWTH", 0.5)
    store = Store(tmp_path / "demo")
    collector, sizes = compact.RowCollector(store.folder), []
    for number in range(20):
        put(store, numbered(number))
        collector.count_trial()
        sizes.append(pyarrow.parquet.read_metadata(compacted(store)).num_rows if compacted(store).exists() else 0)
    assert sizes == [0, 2, 2, 4, 4, 6, 6, 6, 9, 9, 9, 9, 9, 14, 14, 14, 14, 14, 14, 14]


def test_files_that_disagree_do_not_end_a_launch(store: Store) -> None:
    collector = compact.RowCollector(store.folder)
    other = pa.table({"key": ["other"], "val_accuracy": ["high"]})
    pyarrow.parquet.write_table(other, store.table_path("trials", "other"))
    with pytest.raises(UsageError, match=r"other\.parquet: column val_accuracy is string, elsewhere double"):
        store.rows()
    for _ in range(compact.WORTH):
        collector.count_trial()


def test_units_and_meanings_come_along(store: Store) -> None:
    for _ in range(2):
        schema = compact.read_trials(store.folder).schema
        assert schema.field("val_accuracy").metadata[b"unit"] == b"%"
        assert not set(compact.STAMP) & set(schema.names)


def test_nothing_there_is_an_empty_table(tmp_path: Path) -> None:
    assert compact.read_trials(tmp_path).num_rows == 0
    assert Store(tmp_path).rows() == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compacted_before", [False, True])
def test_a_column_of_another_type_is_named_with_its_file(store: Store, compacted_before: bool) -> None:
    """As another version of the code could write it; what another program wrote is not read at all."""
    if compacted_before:
        store.rows()
    file = store.table_path("trials", store.keys()[4])
    row = pyarrow.parquet.read_table(file)
    place = row.schema.get_field_index("val_accuracy")
    file.write_bytes(encode_table(row.set_column(place, "val_accuracy", pa.array(["high"]))))
    with pytest.raises(UsageError, match=f"{file.name}: column val_accuracy is string, elsewhere double; restore"):
        store.rows()


def test_what_is_not_the_row_of_its_name_is_not_read(store: Store) -> None:
    """An export of all rows, another trial's row under a new name, and a table without keys."""
    rows, folder = store.rows(), store.table_path("trials", "x").parent
    every = pa.concat_tables([pyarrow.parquet.read_table(store.table_path("trials", row["key"])) for row in rows])
    pyarrow.parquet.write_table(every, folder / "all.parquet")
    pyarrow.parquet.write_table(every.slice(0, 1), folder / f"{'0' * 16}.parquet")
    pyarrow.parquet.write_table(pa.table({"x": [1]}), folder / "mine.parquet")
    assert store.rows() == rows
    compacted(store).unlink()
    assert store.rows() == rows
