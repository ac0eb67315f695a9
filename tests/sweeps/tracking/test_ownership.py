"""Nobody else's runs are touched: identities of sweeps, copies of folders, what users add, storage that moves."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sweeps.storage.download import download_sweep
from sweeps.storage.identity import ensure_identity, note_reruns, read_identity
from sweeps.storage.store import Store
from sweeps.storage.table_file import encode_table
from sweeps.tracking.connection import connect_client
from sweeps.tracking.garbage import find_superseded_tables, remove_superseded_tables
from sweeps.tracking.ownership import OwnerError
from sweeps.tracking.reconcile import reconcile_runs
from sweeps.tracking.tracker import Tracker, find_lost, is_tracked
from sweeps.tracking.uploader import Uploader
from sweeps.tracking.uri import default_uri
from tests.support.disturbed import one_run_each
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, snapshot, sweep_arguments, works
from tests.support.tracked import TRIALS, every_run, live

pytestmark = pytest.mark.filterwarnings("ignore")


def later(store: Store, keys: list[str]) -> None:
    """Change rows as if these trials had been trained an hour later."""
    for key in keys:
        file = store.table_path("trials", key)
        row = pyarrow.parquet.read_table(file)
        place = row.schema.get_field_index("finished_at")
        moved = [row["finished_at"][0].as_py() + timedelta(hours=1)]
        field = row.schema.field(place)
        file.write_bytes(encode_table(row.set_column(place, field, pa.array(moved, field.type))))


def identify(store: Store, identity: str | None) -> None:
    """Give a manifest another identity, or none as in older versions."""
    manifest = json.loads((store.folder / "sweep.json").read_text())
    manifest.pop("identity")
    (store.folder / "sweep.json").write_text(json.dumps(manifest | ({"identity": identity} if identity else {})))


def test_a_manifest_keeps_its_identity(copied: Callable[[str], Store]) -> None:
    store = copied("a")
    identity = read_identity(store)
    assert identity
    assert len(identity) == 32
    assert ensure_identity(store) == identity
    identify(store, None)
    adopted = ensure_identity(store)
    assert adopted not in (None, identity)
    assert read_identity(store) == adopted
    (store.folder / "sweep.json").unlink()
    assert ensure_identity(store) is None
    assert not (store.folder / "sweep.json").exists()


@pytest.mark.parametrize("older", [False, True])
def test_two_people_with_one_store_and_the_same_name(older: bool, copied: Callable[[str], Store], uri: str) -> None:
    a, b = copied("a"), copied("b")
    identify(a, None if older else "a" * 32)
    identify(b, None if older else "b" * 32)
    later(b, b.keys())
    assert len(reconcile_runs(a, uri)) == TRIALS + len(Tracker.open_experiment(uri, a).read_tags()) - 1
    first = every_run(uri)
    for attempt in (lambda: reconcile_runs(b, uri), lambda: Tracker.open_experiment(uri, b)):
        with pytest.raises(OwnerError, match=r"belongs to a sweep in another folder .*give another --name .*--adopt"):
            attempt()
    assert isinstance(Uploader(uri, b).finish(), OwnerError)
    assert every_run(uri).keys() == first.keys()
    assert live(every_run(uri)) == live(first)
    reconcile_runs(b, uri, adopt=True)  # the user says that this is wanted
    runs = every_run(uri)
    assert first.keys() < runs.keys()
    assert all(run.info.lifecycle_stage == "active" for run in runs.values())
    for old in first:
        assert runs[old].info.status == "KILLED"
        assert runs[old].data.tags["superseded_by"] == live(runs)[runs[old].data.tags["key"]]
        assert runs[old].data.metrics == first[old].data.metrics
    one_run_each(b, uri)


def test_a_copy_keeps_its_identity_and_other_contents_for_a_key_are_refused(
    copied: Callable[[str], Store], uri: str
) -> None:
    a, b = copied("a"), copied("b")
    reconcile_runs(a, uri)
    assert reconcile_runs(b, uri) == []
    before, changed = live(every_run(uri)), b.keys()[0]
    later(b, [changed])
    with pytest.raises(OwnerError, match=f"trial {changed} has other results in MLflow"):
        reconcile_runs(b, uri)
    assert isinstance(Uploader(uri, b).finish(), OwnerError)
    assert live(every_run(uri)) == before


def test_a_trial_that_ran_again_supersedes_its_run(copied: Callable[[str], Store], uri: str) -> None:
    """Its run is kept as KILLED; exactly one is live, however often the rest is repeated."""
    store = copied("a")
    assert Uploader(uri, store).finish() is None
    first, key = every_run(uri), store.keys()[0]
    note_reruns(store, [key])
    later(store, [key])
    for _ in range(2):
        assert Uploader(uri, store).finish() is None
        runs = every_run(uri)
        assert len(runs) == TRIALS + 1
        (old,) = [run for i, run in runs.items() if i not in live(runs).values()]
        assert old.info.run_id == live(first)[key]
        assert (old.info.status, old.data.tags["superseded_by"]) == ("KILLED", live(runs)[key])
        one_run_each(store, uri)
    assert reconcile_runs(store, uri) == []


def test_a_trial_that_finishes_while_its_lost_run_is_known_is_looked_up(
    copied: Callable[[str], Store], uri: str
) -> None:
    """The uploader looks a key up before it creates a run."""
    store = copied("a")
    key = store.keys()[0]
    assert Uploader(uri, store).finish() is None
    row = store.table_path("trials", key)
    content = row.read_bytes()
    row.unlink()
    note_reruns(store, [key])
    uploader = Uploader(uri, store)
    uploader.wait_until_open()
    row.write_bytes(content)
    later(store, [key])
    uploader.add_trial(key)
    assert uploader.finish() is None
    assert len(every_run(uri)) == TRIALS + 1
    one_run_each(store, uri)


def test_a_row_that_was_removed_by_hand_is_noted(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    assert find_lost(store) == []
    key = store.keys()[0]
    store.table_path("trials", key).unlink()
    assert find_lost(store) == [key]


def test_what_users_added_stays(copied: Callable[[str], Store], uri: str, tmp_path: Path) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    client, runs = connect_client(uri), live(every_run(uri))
    kept, replaced = store.keys()[:2]
    (tmp_path / "note.txt").write_text("mine")
    for key in (kept, replaced):
        client.set_tag(runs[key], "mlflow.note.content", "for the paper")
        client.set_tag(runs[key], "mine", "yes")
        client.log_param(runs[key], "their_param", "1")
        client.log_metric(runs[key], "my_own_score", 1.5, step=3)
        client.log_artifact(runs[key], str(tmp_path / "note.txt"))
    client.set_experiment_tag(Tracker.open_experiment(uri, store).experiment, "verdict.of_mine", "theirs")
    assert reconcile_runs(store, uri) == []
    assert live(every_run(uri)) == runs
    client.log_metric(runs[replaced], "test/nll", 99.0, step=99)  # a number of ours: `best` would show it
    (difference,) = reconcile_runs(store, uri)
    assert (difference.key, difference.what) == (replaced, "contradicted test/nll")
    now = every_run(uri)
    assert live(now)[kept] == runs[kept]
    old, new = now[runs[replaced]], now[live(now)[replaced]]
    row = store.row(replaced)
    assert row is not None
    assert (new.data.metrics["test/nll"], old.data.metrics["test/nll"]) == (row["test_nll"], 99.0)
    for run in (old, new, now[runs[kept]]):
        assert run.data.tags["mlflow.note.content"] == "for the paper"
        assert run.data.tags["mine"] == "yes"
        assert run.data.params["their_param"] == "1"
        assert run.data.metrics["my_own_score"] == 1.5
    assert [(point.step, point.value) for point in client.get_metric_history(new.info.run_id, "my_own_score")] == [
        (3, 1.5)
    ]
    for run_id in (runs[kept], runs[replaced]):
        assert "note.txt" in [file.path for file in client.list_artifacts(run_id)]
    listed = find_superseded_tables(store, uri)
    assert "tables" in [file.path for file in client.list_artifacts(runs[replaced])]  # nothing was removed
    (removed,) = remove_superseded_tables(store, uri)
    assert listed == [removed]
    assert runs[replaced] in str(removed)
    assert [file.path for file in client.list_artifacts(runs[replaced])] == ["note.txt"]
    for run_id in live(every_run(uri)).values():
        assert "tables" in [file.path for file in client.list_artifacts(run_id)]
    assert remove_superseded_tables(store, uri) == []
    tags = client.get_experiment_by_name("quickstart").tags
    assert tags["verdict.of_mine"] == "theirs"
    assert tags["identity"] == read_identity(store)
    assert reconcile_runs(store, uri) == []


def test_a_missing_table_is_the_culprit_and_not_the_tracking_store(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    before = every_run(uri)
    file = store.table_path("history", store.keys()[0])
    content = file.read_bytes()
    for damage in (file.unlink, lambda: file.write_bytes(content[:100])):
        damage()
        with pytest.raises(ValueError, match=f"tables/history/{file.name}.*rerun the command") as problem:
            reconcile_runs(store, uri)
        assert "track" not in str(problem.value)
        assert every_run(uri).keys() == before.keys()


@pytest.fixture
def storage(finished: Store, tmp_path: Path) -> Path:
    """A copy of a whole storage folder, as somebody who got it has it."""
    return Path(shutil.copytree(finished.folder.parent, tmp_path / "here" / "storage"))


def test_lost_tracking_is_noticed_and_made_again(
    storage: Path, shell: Command, refused: Command, image_cache: Path
) -> None:
    """The advice of `best` helps, and so does repeating the sweep."""
    store, uri = Store(storage / "quickstart"), default_uri(storage)
    where = ("--storage", str(storage))
    count = len(store.keys())
    (storage / "mlflow.db").unlink()
    for command in ("best", "ui"):
        line = refused(command, "quickstart", *where)
        assert f"no MLflow store at {uri}, but" in line
        assert f"has {count} finished trials: run `launch.py sync quickstart`" in line
    shell("sync", "quickstart", *where)
    assert "deep (ref.)" in shell("best", "quickstart", *where)
    assert is_tracked(store, uri)
    connect_client(uri).delete_experiment(Tracker.find_experiment(uri, "quickstart").experiment)
    assert not is_tracked(store, uri)
    assert "run `launch.py sync quickstart`" in refused("best", "quickstart", *where)
    said = shell(*sweep_arguments(storage, image_cache))
    assert f"sweep quickstart: 0 trials run now, {count} in" in said
    assert "deep (ref.)" in shell("best", "quickstart", *where)
    one_run_each(store)


@pytest.mark.slow
def test_a_repaired_trial_has_one_live_run(storage: Path, shell: Command, image_cache: Path) -> None:
    """However often the command is repeated: the storage itself is looked at."""
    store, uri = Store(storage / "quickstart"), default_uri(storage)
    count, file = len(store.keys()), store.table_path("history", store.keys()[0])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = works(launch(*sweep_arguments(storage, image_cache)))
    assert f"1 trials have damaged files and will be rerun: {store.keys()[0]}" in said
    assert f"1 trials run now, {count} in" in said
    for _ in range(2):
        assert len(live(every_run(uri))) == count
        assert len(every_run(uri)) == count + 1
        one_run_each(store)
        shell(*sweep_arguments(storage, image_cache))


def test_files_of_users_in_our_folders_are_left_and_not_read(storage: Path, shell: Command, image_cache: Path) -> None:
    store = Store(storage / "quickstart")
    rows, folder = store.rows(), store.folder / "tables" / "trials"
    export = pa.concat_tables(
        [pyarrow.parquet.read_table(store.table_path("trials", key)) for key in store.keys()],  # noqa: SIM118
        promote_options="permissive",
    )
    pyarrow.parquet.write_table(export, folder / "all.parquet")
    (folder / "notes.txt").write_text("mine")
    (store.folder / "tables" / "history" / "broken.parquet").write_bytes(b"half")
    (store.folder / "weights" / "mine.safetensors").write_bytes(b"half")
    theirs = {name: stamp for name, stamp in snapshot(store.folder).items() if not set(name) & {".lock"}}
    said = shell(*sweep_arguments(storage, image_cache))
    assert "damaged" not in said
    assert f"0 trials run now, {len(rows)} in" in said
    after = snapshot(store.folder)
    for name in (
        "tables/trials/all.parquet",
        "tables/trials/notes.txt",
        "tables/history/broken.parquet",
        "weights/mine.safetensors",
    ):
        assert after[name] == theirs[name]
    assert store.rows() == rows
    copy = store.table_path("trials", "0" * 16)  # our kind of name, without our mark
    shutil.copy(store.table_path("trials", store.keys()[0]), copy)
    assert store.row("0" * 16) is None
    assert store.rows() == rows
    copy.unlink()


def test_a_storage_that_moved_writes_to_nowhere_else(finished: Store, storage: Path, tmp_path: Path) -> None:
    """Artifacts that are missing are made again where the folder is now; the old place, which still exists, is left."""
    store, uri = Store(storage / "quickstart"), default_uri(storage)
    before = snapshot(finished.folder.parent)
    key = store.keys()[0]
    run = Tracker.find_experiment(uri, "quickstart").logged_runs()[key][0].run_id
    shutil.rmtree(store.folder / "mlartifacts" / run)
    differences = reconcile_runs(store, uri)
    assert [difference.key for difference in differences if "tables/" in difference.what] in ([key], [])
    assert snapshot(finished.folder.parent) == before
    assert (store.folder / "mlartifacts" / run / "artifacts" / "tables" / "trials" / f"{key}.parquet").exists()
    client = connect_client(uri)
    for i, logged in every_run(uri).items():
        assert logged.info.artifact_uri == f"{(store.folder / 'mlartifacts').as_uri()}/{i}/artifacts"
        assert client.list_artifacts(i, "tables")
    renamed = storage.rename(tmp_path / "elsewhere")
    moved = Store(renamed / "quickstart")
    assert reconcile_runs(moved, default_uri(renamed)) == []
    assert not storage.exists()


def test_a_copy_beside_a_shared_store_does_not_write_into_the_first_folder(
    copied: Callable[[str], Store], uri: str, tmp_path: Path
) -> None:
    a, b = copied("a"), copied("b")
    gone = a.keys()[-1]
    for path in a.trial_tables(gone):
        path.unlink()
    reconcile_runs(a, uri)
    before = snapshot(a.folder)
    assert [difference.key for difference in reconcile_runs(b, uri)] == [gone]
    assert snapshot(a.folder) == before
    assert list((tmp_path / "mlartifacts" / "quickstart").glob(f"*/artifacts/tables/trials/{gone}.parquet"))


def test_a_fetched_sweep_keeps_its_identity_and_another_is_refused(
    copied: Callable[[str], Store], tmp_path: Path
) -> None:
    remote, to = copied("remote"), tmp_path / "to"
    uri = f"file://{remote.folder.parent}"
    identity = read_identity(remote)
    assert read_identity(download_sweep(uri, remote.name, to)) == identity
    identify(remote, None)  # written by an older version meanwhile
    assert read_identity(download_sweep(uri, remote.name, to)) == identity
    (remote.folder / "sweep.json").write_text((to / remote.name / "sweep.json").read_text())
    identify(remote, "f" * 32)
    with pytest.raises(ValueError, match="the folder holds another sweep named"):
        download_sweep(uri, remote.name, to)


def test_gc_removes_stages_of_older_code_if_told(copied: Callable[[str], Store], uri: str, shell: Command) -> None:
    store = copied("ada")
    old = store.folder.parent / "runs" / ("0" * 16)
    (old / "member-0").mkdir(parents=True)
    where = ["--storage", str(store.folder.parent), "--tracking-uri", uri]
    assert "stages of older code 1 0 B --stages --delete" in " ".join(shell("gc", "quickstart", *where).split())
    assert "freed 0 B" in shell("gc", "quickstart", *where, "--delete")
    assert old.exists()
    assert "removed stages of older code: 1, 0 B" in shell("gc", "quickstart", *where, "--stages", "--delete")
    assert not old.exists()
