"""The run of a sweep: one, found again, with the trials nested under it, and counted as none of them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sweeps.queries.best import find_best
from sweeps.storage.store import Store
from sweeps.tracking import connection, tracker
from sweeps.tracking.connection import connect_client
from sweeps.tracking.reader import open_reader
from sweeps.tracking.reconcile import reconcile_runs
from sweeps.tracking.tracker import Tracker, is_tracked
from sweeps.tracking.uploader import Uploader
from tests.support.disturbed import one_run_each, until
from tests.support.tracked import TRIALS, every_run, live, sweep_runs
from tests.sweeps.tracking.test_live_runs import facts_of, running, show

pytestmark = pytest.mark.filterwarnings("ignore")


def set_state(store: Store, state: str) -> None:
    (store.folder / "status.json").write_text(json.dumps({"state": state}))


def test_trials_are_nested_under_the_run_of_their_sweep(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    (parent,) = sweep_runs(uri)
    assert parent.info.run_name == store.name
    assert (parent.info.status, parent.data.tags["role"]) == ("FINISHED", "sweep")
    assert "key" not in parent.data.tags
    rows = {row["key"]: row for row in store.rows()}
    assert parent.info.end_time == max(int(1000 * row["finished_at"].timestamp()) for row in rows.values())
    children = list(every_run(uri).values())
    assert len(children) == TRIALS
    for run in children:
        tags, row = run.data.tags, rows[run.data.tags["key"]]
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["mlflow.source.git.commit"] == row["commit"]
        assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("launch.py", "LOCAL")
        assert f"launch.py show {row['key']}" in tags["mlflow.note.content"]
        assert run.info.run_name.startswith(row["construction"])
        assert run.info.user_id == tags["mlflow.user"] == parent.data.tags["mlflow.user"] != "unknown"
    assert {run.key for run in open_reader(uri, store.name).finished_runs()} == rows.keys()
    assert reconcile_runs(store, uri) == []
    assert is_tracked(store, uri)


def test_a_sweep_run_is_open_while_its_trials_run(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    with running(store, store.keys()[0]) as facts:
        reconcile_runs(store, uri)
        (ended,) = sweep_runs(uri)
        uploader = Uploader(uri, store)
        uploader.wait_until_open()
        assert sweep_runs(uri)[0].info.status == "FINISHED"  # a launch that is refused later changes nothing
        uploader.begin_trial(facts)
        until(lambda: sweep_runs(uri)[0].info.status == "RUNNING")
        assert not is_tracked(store, uri)
    uploader.add_trial(facts["key"])
    assert uploader.finish() is None
    (again,) = sweep_runs(uri)
    assert (again.info.run_id, again.info.status) == (ended.info.run_id, "FINISHED")
    assert is_tracked(store, uri)
    one_run_each(store, uri)


def test_a_launcher_that_is_stopped_leaves_nothing_running(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    with running(store, store.keys()[0]) as facts:
        _, trial = show(store, uri, facts)
        for _ in range(2):  # the second launch shows the sweep as running again
            uploader = Uploader(uri, store)
            uploader.wait_until_open()
            uploader.begin_trial(facts)
            until(lambda: sweep_runs(uri)[0].info.status == "RUNNING")
            uploader.stop(patience=60)
            assert [run.info.status for run in sweep_runs(uri)] == ["KILLED"]
            assert every_run(uri)[trial].info.status == "KILLED"
    uploader = Uploader(uri, store)
    assert uploader.finish() is None
    assert sweep_runs(uri)[0].info.status == "FINISHED"
    one_run_each(store, uri)


@pytest.mark.parametrize(("state", "status"), [("running", "KILLED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_sync_ends_what_a_lost_launcher_left_open(
    state: str, status: str, copied: Callable[[str], Store], uri: str
) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    (parent,) = sweep_runs(uri)
    connect_client(uri).update_run(parent.info.run_id, status="RUNNING")
    set_state(store, state)
    (difference,) = reconcile_runs(store, uri)
    assert (difference.key, difference.what) == (store.name, f"was shown as open; ended as {status}")
    assert sweep_runs(uri)[0].info.status == status
    assert reconcile_runs(store, uri) == []


def test_a_sweep_without_a_finished_trial_failed(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    for path in (store.folder / "tables" / "trials").iterdir():
        path.unlink()
    assert Uploader(uri, store).finish() is None
    (parent,) = sweep_runs(uri)
    assert parent.info.status == "FAILED"


class Forgetful:
    """A client that loses the response to every run that it creates."""

    def __init__(self, client: Any) -> None:
        self._client, self.lost = client, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_run(self, *args: Any, **named: Any) -> Any:
        self._client.create_run(*args, **named)
        self.lost += 1
        raise ConnectionError("503")


def test_a_lost_response_makes_no_second_sweep_run(
    copied: Callable[[str], Store], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, client = copied("a"), Forgetful(connection.connect_client(uri))
    monkeypatch.setattr(tracker, "connect_client", lambda uri: client)
    monkeypatch.setattr(tracker, "is_passing", lambda uri, error: isinstance(error, ConnectionError))
    monkeypatch.setattr("sweeps.tracking.patience.sleep", lambda seconds: None)
    assert Tracker.open_experiment(uri, store).log_missing(store) == TRIALS
    assert client.lost == 1 + TRIALS
    assert len(sweep_runs(uri)) == 1
    one_run_each(store, uri)


def test_of_two_sweep_runs_one_stays(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    (parent,) = sweep_runs(uri)
    client = connect_client(uri)
    other = client.create_run(parent.info.experiment_id, tags={"role": "sweep"}).info.run_id
    reconcile_runs(store, uri)
    ended = client.get_run(other)
    assert (ended.info.status, ended.data.tags["superseded_by"]) == ("KILLED", parent.info.run_id)
    client.delete_run(parent.info.run_id)  # by a user: trials are nested under a new one
    moved = reconcile_runs(store, uri)
    assert sorted(one.key for one in moved) == store.keys()
    assert {one.what for one in moved} == {"lacked mlflow.parentRunId"}
    assert reconcile_runs(store, uri) == []


def write_older_run(client: Any, experiment: str, store: Store, key: str) -> str:
    """A run as version 0.1 wrote it: metrics with the names of their columns, named by its key, nested nowhere."""
    from sweeps.tracking.run_record import make_record, with_columns_as_names

    row = store.row(key)
    assert row is not None
    record = make_record(store, row)
    tags = {name: value for name, value in record.tags.items() if not name.startswith("mlflow.")} | {"key": key}
    run_id: str = client.create_run(experiment, start_time=record.began, tags=tags, run_name=key).info.run_id
    for name, value in record.params.items():
        client.log_param(run_id, name, value)
    for point in with_columns_as_names(record).points:
        assert "/" not in point.name
        client.log_metric(run_id, point.name, point.value, point.stamp, point.step)
    for folder, file in record.files.items():
        client.log_artifact(run_id, str(file), folder)
    client.set_terminated(run_id, record.status, record.ended)
    return run_id


@pytest.fixture
def older(copied: Callable[[str], Store], uri: str) -> tuple[Store, dict[str, str]]:
    """A sweep of which an older version logged the first trial, and the ids of its runs by key."""
    store = copied("a")
    client = connect_client(uri)
    experiment = client.create_experiment(store.name, (store.folder / "mlartifacts").as_uri())
    return store, {key: write_older_run(client, experiment, store, key) for key in store.keys()[:1]}


def test_runs_of_an_older_version_stay_as_they_are(older: tuple[Store, dict[str, str]], uri: str) -> None:
    store, runs = older
    (key,) = runs
    before = every_run(uri)[runs[key]]
    assert Uploader(uri, store).finish() is None
    after = every_run(uri)
    assert live(after)[key] == runs[key]
    assert after[runs[key]].to_dictionary() == before.to_dictionary()
    one_run_each(store, uri)
    mixed = open_reader(uri, store.name)
    fresh = {row["key"]: row for row in store.rows()}
    for metrics in (None, {"val_nll", "test_q_bar_reset", "seconds"}):
        found = {run.key: run.metrics for run in mixed.finished_runs(metrics)}
        assert found.keys() == fresh.keys()
        for name in ("val_nll", "test_q_bar_reset", "seconds"):
            assert {k: one.get(name) for k, one in found.items()} == {k: row[name] for k, row in fresh.items()}
    assert len(find_best(mixed, x="q_bar", y="accuracy").listed + find_best(mixed).references) > 0
    (difference,) = [one for one in reconcile_runs(store, uri) if one.key == key]
    assert difference.what.startswith("lacked dataset, mlflow.")
    nested = every_run(uri)[runs[key]]
    assert nested.data.tags["mlflow.parentRunId"] == sweep_runs(uri)[0].info.run_id
    assert nested.info.run_name != key
    assert nested.data.metrics == before.data.metrics
    assert reconcile_runs(store, uri) == []


def test_a_changed_run_of_an_older_version_is_replaced_by_one_with_sections(
    older: tuple[Store, dict[str, str]], uri: str
) -> None:
    store, runs = older
    (key,) = runs
    client = connect_client(uri)
    client.log_metric(runs[key], "test_nll", 99.0, step=99)
    client.log_metric(runs[key], "mine", 1.0)
    (difference,) = [one for one in reconcile_runs(store, uri) if one.key == key]
    assert difference.what.endswith("contradicted test_nll")
    now = every_run(uri)
    new = now[live(now)[key]].data.metrics
    row = store.row(key)
    assert row is not None
    assert new["test/nll"] == row["test_nll"]
    assert new["mine"] == 1.0
    assert not {"test_nll", "val_nll", "seconds"} & new.keys()
    assert reconcile_runs(store, uri) == []


def test_the_name_of_a_running_trial_is_that_of_its_results(copied: Callable[[str], Store], uri: str) -> None:
    from sweeps.tracking.run_record import make_record, read_manifest, run_labels

    store = copied("a")
    for row in store.rows():
        assert run_labels(store, facts_of(row), read_manifest(store)) == make_record(store, row).labels
