"""A tracking server that is away: for a minute, at the start, half way, for ever; and what `sync` mends afterwards."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin.errors import UsageError
from sweeps.storage.identity import note_reruns
from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Store
from sweeps.tracking.connection import connect_client
from sweeps.tracking.reconcile import reconcile_runs
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uploader import Uploader
from sweeps.tracking.uri import OutageError, default_uri
from tests.support.disturbed import (
    arguments,
    as_undisturbed,
    launched,
    nothing_left_over,
    one_run_each,
    until,
    works_on,
)
from tests.support.servers import Postgres, Server, postgres_or_skip
from tests.support.shell import Command
from tests.support.tiny_sweep import free_ports, launch, mlflow_runs, python, works
from tests.support.tracked import every_run, live, metric_steps

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is started and stopped by the tests."""
    folder = tmp_path_factory.mktemp("server")
    made = Server(f"sqlite:///{folder / 'mlflow.db'}", folder)
    yield made
    made.stop()


BEGUN_AGAIN_AND_AGAIN = """
import os, signal, sys, time
from sweeps.tracking.connection import connect_client
import mlflow.tracking  # takes longer than all that follows

for wait in range(1, 10):
    if (child := os.fork()) == 0:
        connect_client(sys.argv[1])
        os._exit(0)
    time.sleep(wait / 10)
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1] & 127)
print(len(connect_client(sys.argv[1]).search_experiments()))
"""


def test_a_launcher_that_is_killed_while_mlflow_makes_its_tables(tmp_path: Path) -> None:
    """Cut off in that, MLflow itself leaves a file that it refuses from then on."""
    uri = default_uri(tmp_path)
    *signals, experiments = works(python("-W", "ignore", "-c", BEGUN_AGAIN_AND_AGAIN, uri)).split()
    assert signals.count("9") >= 2
    assert experiments == "1"
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["mlflow.db"]


def test_the_launcher_is_killed_while_mlflow_shows_its_trial(image_cache: Path, tmp_path: Path, shell: Command) -> None:
    """The next launch continues the run of the trial, also if `sync` ended it meanwhile."""
    store, uri = works_on(tmp_path), default_uri(tmp_path)
    command = arguments(tmp_path, image_cache, "--trials", "1", "--seeds", "1", epochs="400", progress_every="10")
    sync = ("sync", store.name, "--storage", str(tmp_path))
    with launched(*command) as process:
        assert until(lambda: running_runs(uri, most=0.5), process), process.communicate()
    shown = running_runs(uri)
    (key,) = shown
    assert key not in store.keys()  # noqa: SIM118
    before = metric_steps(uri, key, "live_progress")
    with launched(*command) as process:
        assert until(lambda: metric_steps(uri, key, "live_progress") > before, process), process.communicate()
    assert running_runs(uri) == shown
    assert "was shown as running; ended as KILLED" in shell(*sync)
    assert running_runs(uri) == {}
    works(launch(*command))
    assert shown.items() < live(every_run(uri)).items()
    assert len(every_run(uri)) == len(store.keys())
    one_run_each(store)
    nothing_left_over(store)
    assert "differed in 0" in shell(*sync)


def running_runs(uri: str, most: float = 1.0) -> dict[str, str]:
    """Key → id of each run that MLflow shows as running, with at most this share of its training done."""
    runs = every_run(uri)
    return {
        key: i
        for key, i in live(runs).items()
        if runs[i].info.status == "RUNNING" and runs[i].data.metrics.get("live_progress", 1.0) <= most
    }


def copied(finished: Store, folder: Path) -> Store:
    """The tables of a sweep under another name."""
    shutil.copytree(finished.folder / "tables", folder / "copied" / "tables")
    return Store(folder / "copied")


def test_a_server_that_is_down_at_start_and_half_way_for_a_minute(
    undisturbed: Store, image_cache: Path, tmp_path: Path, server: Server, shell: Command
) -> None:
    """The trials do not wait: they are all done while the server is away."""
    server.start()  # which takes longer than until the sweep asks for it the first time
    store = works_on(tmp_path)
    with launched(*arguments(tmp_path, image_cache, "--tracking-uri", server.uri)) as process:
        until(lambda: len(store.keys()) > 2, process)
        server.answers()
        server.stop()
        stopped = time.monotonic()
        until(lambda: len(store.keys()) == len(undisturbed.keys()), process)
        assert process.poll() is None, process.communicate()
        until(lambda: time.monotonic() > stopped + 60, process)
        server.start()
        out, err = process.communicate(timeout=300)
    sync = ("sync", store.name, "--storage", str(tmp_path), "--tracking-uri", server.uri)
    if process.returncode:  # a server that takes longer to come back than a finished sweep waits
        assert "MLflow does not have every trial" in out, out + err
        server.answers()
        assert "was missing" in shell(*sync)
    as_undisturbed(undisturbed, store, server.backend)
    assert "differed in 0" in shell(*sync)


def test_a_server_that_never_answers_does_not_keep_a_sweep(
    undisturbed: Store, tmp_path: Path, refused: Command
) -> None:
    uri = f"http://127.0.0.1:{free_ports(1)[0]}"
    store = copied(undisturbed, tmp_path)
    uploader = Uploader(uri, store)
    with pytest.raises(OutageError, match="expected an MLflow tracking store that answers"):
        uploader.wait_until_open()
    began = time.monotonic()
    uploader.add_trial(store.keys()[0])
    left = uploader.finish(patience=2)
    assert isinstance(left, OutageError)
    assert time.monotonic() - began >= 2
    line = refused("sync", "copied", "--storage", str(tmp_path), "--tracking-uri", uri)
    assert "answers, got" in line
    assert uri in line
    assert Uploader(default_uri(tmp_path), store).finish() is None
    one_run_each(store)


def test_postgresql_behind_the_server_is_restarted(undisturbed: Store, tmp_path: Path) -> None:
    postgres_or_skip()
    postgres = Postgres()
    server = Server(postgres.uri, tmp_path / "server")
    try:
        postgres.create()
        server.start()
        server.answers()
        store = copied(undisturbed, tmp_path)
        keys = store.keys()
        rows = [store.table_path("trials", key) for key in keys]
        away = [path.rename(path.with_suffix(".away")) for path in rows]
        uploader = Uploader(server.uri, store)
        uploader.wait_until_open()
        for number, (key, path, row) in enumerate(zip(keys, away, rows, strict=True)):
            path.rename(row)
            uploader.add_trial(key)
            if number == 2:
                postgres.stop()  # in the midst of what is being sent
            if number == 5:
                until(lambda: uploader.trouble)
                assert isinstance(uploader.trouble, OutageError)
                postgres.start()
            time.sleep(0.2)
        assert uploader.finish() is None
        one_run_each(store, postgres.uri)
        assert reconcile_runs(store, server.uri) == []
    finally:
        server.stop()
        postgres.remove()


def test_sync_says_what_differed_and_mends_it(undisturbed: Store, tmp_path: Path) -> None:
    store, uri = copied(undisturbed, tmp_path), default_uri(tmp_path)
    keys, tracker = store.keys(), Tracker.open_experiment(default_uri(tmp_path), store)
    tracker.log_missing(store, keys[1:])
    client, known = tracker.client, tracker.logged_runs()
    runs = {key: known[key][0].run_id for key in keys[1:]}
    client.create_run(tracker.experiment, tags={"key": keys[1]})  # an answer was lost, and a run made twice
    client.update_run(runs[keys[2]], status="RUNNING")
    tracker.update_tags(store)
    client.log_metric(runs[keys[3]], "val/accuracy", 1.0, step=1)
    client.log_metric(runs[keys[4]], "test/nll", 1.0, step=99)
    client.set_tag(runs[keys[5]], "role", "another")
    client.delete_tag(runs[keys[6]], "commit")
    stray = client.create_run(tracker.experiment, tags={"key": "0" * 16}).info.run_id
    found = {difference.key: difference.what for difference in reconcile_runs(store, uri)}
    assert found == {
        keys[0]: "was missing",
        keys[1]: "had 2 runs",
        keys[2]: "was unfinished",
        keys[3]: "contradicted val/accuracy",
        keys[4]: "contradicted test/nll",
        keys[5]: "lacked role",
        keys[6]: "lacked commit",
        "0" * 16: "is in MLflow only; left as it is",
    }
    client.delete_run(stray)
    assert reconcile_runs(store, uri) == []
    one_run_each(store)
    for run in mlflow_runs(tmp_path, "copied", tmp_path):
        row = store.row(run["tags"]["key"])
        assert row is not None
        assert run["metrics"]["test/nll"] == row["test_nll"]
        assert run["tags"]["role"] == row["role"]


def test_a_trial_that_was_run_again_replaces_its_run(undisturbed: Store, tmp_path: Path) -> None:
    store, uri = copied(undisturbed, tmp_path), default_uri(tmp_path)
    key = store.keys()[0]
    Tracker.open_experiment(uri, store).log_missing(store)
    row = store.row(key)
    assert row is not None
    note_reruns(store, [key])
    row["seconds"] += 5.0
    store.write_tables(key, {"trials": [row], "members": [], "history": [], "paths": []})
    assert Uploader(uri, store).finish() is None
    one_run_each(store)


def test_a_store_that_refuses_is_no_outage(undisturbed: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an MLflow tracking store that answers") as problem:
        connect_client("nonsense://x")
    assert not isinstance(problem.value, OutageError)
    store = copied(undisturbed, tmp_path)
    (tmp_path / "mlflow.db").mkdir()
    left = Uploader(default_uri(tmp_path), store).finish(patience=0.1)
    assert left is not None
    assert not isinstance(left, OutageError)


def test_sync_waits_for_nobody(undisturbed: Store, tmp_path: Path, refused: Command) -> None:
    store = copied(undisturbed, tmp_path)
    with (
        locked_folder(store),
        pytest.raises(UsageError, match="is being run by another launcher"),
        locked_folder(Store(store.folder)),
    ):
        raise AssertionError("two at once")
    assert "no sweep 'nope'" in refused("sync", "nope", "--storage", str(tmp_path))
