"""Damaged files are found, and fetched again where another copy is."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet
import pytest

from basin.errors import UsageError
from sweeps.storage.integrity import check_files, find_damage, remove_damaged_rows, restore_files
from sweeps.storage.object_store import Mirror
from sweeps.storage.schemas import ALWAYS
from sweeps.storage.store import Store
from sweeps.storage.table_file import YOUNGER_COLUMN
from tests.support.shell import Command
from tests.support.tiny_sweep import put, row_of, study


def test_a_damaged_local_copy_is_fetched_again_from_the_object_store(finished: Store, tmp_path: Path) -> None:
    """The row in the store is left: it is intact."""
    remote = tmp_path / "store"
    shutil.copytree(finished.folder / "tables", remote / "demo" / "tables")
    mirror = Mirror.from_uri(f"file://{remote}", tmp_path / "cache")
    store = Store(mirror.folder / "demo")
    mirror.pull_folder(store.folder / "tables")
    first, second = store.keys()[:2]
    for file in (store.table_path("history", first), store.table_path("trials", second)):
        file.write_bytes(file.read_bytes()[:50])
    assert set(find_damage(store)) == {first, second}
    restore_files(store, mirror)
    assert find_damage(store) == {}
    assert store.rows() == Store(remote / "demo").rows()


@pytest.fixture
def few(tmp_path: Path) -> Store:
    """Rows of three trials."""
    store = Store(tmp_path / "storage" / "demo")
    for beta in (0.5, 1.5, 2.5):
        put(store, row_of(study(), {"construction": "constrained", "beta": beta, "seed": 0}))
    return store


def rewrite(store: Store, key: str, tables: Sequence[str]) -> list[str]:
    """Read tables of a trial and write them again as another program does; their names in the sweep's folder."""
    for table in tables:
        path = store.table_path(table, key)
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path), path)
    return [f"tables/{table}/{key}.parquet" for table in tables]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("tables", [["members"], ["trials"], ["paths"], ["trials", "members", "history"]])
def test_a_table_that_another_program_wrote_again_is_named(tables: list[str], checked: bool, few: Store) -> None:
    """Whether or not its neighbours have been looked at before."""
    key, *others = few.keys()
    if checked:
        assert find_damage(few) == {}
    names = rewrite(few, key, tables)
    assert {found: sorted(damaged) for found, damaged in find_damage(few).items()} == {key: sorted(names)}
    with pytest.raises(UsageError, match=rf"1 trials have damaged, changed or missing files \(.*{names[0]}"):
        check_files(few)
    assert remove_damaged_rows(few) == [key]
    assert few.keys() == others


def test_a_trial_written_again_as_a_whole_is_named(few: Store) -> None:
    key = few.keys()[0]
    names = rewrite(few, key, [path.parent.name for path in few.trial_tables(key)])
    assert {key: sorted(names)} == {key: sorted(found) for key, found in find_damage(few).items()}


def test_a_trial_of_the_first_versions_has_no_checksums(few: Store) -> None:
    """Nor the columns of later ones."""
    key = few.keys()[0]
    rewrite(few, key, [path.parent.name for path in few.trial_tables(key)])
    row = few.table_path("trials", key)
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(row).drop_columns([YOUNGER_COLUMN]), row)
    assert find_damage(few) == {}


@pytest.mark.slow
@pytest.mark.parametrize("table", [name for name in ALWAYS if name != "members"])
def test_sync_and_report_name_a_table_that_was_written_again(
    table: str, finished: Store, tmp_path: Path, refused: Command
) -> None:
    shutil.copytree(finished.folder.parent, tmp_path / "storage", ignore=shutil.ignore_patterns("compact", "runs"))
    store, where = Store(tmp_path / "storage" / finished.name), ("--storage", str(tmp_path / "storage"))
    (name,) = rewrite(store, store.keys()[0], [table])
    assert name in refused("sync", "quickstart", *where)
    if table != "history":  # which the report does not read
        assert name in refused("report", "quickstart", *where)
