"""MLflow shows a trial while it runs: one run a trial, which the results complete, or which ends with its trial."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from basin.environment import Machine
from basin.files import read_object
from sweeps.execution.options import Options
from sweeps.status import Status
from sweeps.storage.columns import distinguishing_names
from sweeps.storage.store import Row, Store
from sweeps.sweep import sweep
from sweeps.tracking import live_runs
from sweeps.tracking.connection import connect_client
from sweeps.tracking.live_runs import FIRST, INTERVAL, SHARE, LiveRuns
from sweeps.tracking.metric_names import by_column
from sweeps.tracking.ownership import OwnerError
from sweeps.tracking.reader import ClientReader, open_reader
from sweeps.tracking.reconcile import reconcile_runs
from sweeps.tracking.run_names import run_name
from sweeps.tracking.run_record import make_record
from sweeps.tracking.tracker import Tracker, is_tracked
from sweeps.tracking.uploader import Uploader, UploadingListener
from sweeps.tracking.uri import default_uri
from tests.support.disturbed import nothing_left_over, one_run_each, until
from tests.support.tiny_sweep import study
from tests.support.tracked import every_run, live, metric_steps

pytestmark = pytest.mark.filterwarnings("ignore")


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Deaf:
    """A listener that forgets everything."""

    def phase(self, name: str, total: int, later: int = 0) -> None: ...

    def begin(self, trial: Row) -> None: ...

    def report(self, result: Row) -> None: ...

    def advance(self, result: Row | None = None) -> None: ...

    def fail(self, key: str, error: str) -> None: ...

    def note(self, words: str) -> None: ...


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is shown at once."""
    monkeypatch.setattr(live_runs, "FIRST", 0.0)
    monkeypatch.setattr(live_runs, "INTERVAL", 0.0)
    monkeypatch.setattr(live_runs, "SHARE", 1.0)


def facts_of(row: Row) -> Row:
    """What the launcher hears when the trial of a row begins."""
    names = ("key", "role", "configuration", "dataset", "model", "construction", "epochs", "seed")
    return {name: row[name] for name in (*names, *distinguishing_names()) if name in row}


def report_of(key: str, step: int, nll: float = 1.0) -> Row:
    return {"key": key, "step": step, "progress": step / 10, "passes": step, "val_nll": nll, "val_ece": 5.0}


@contextmanager
def running(store: Store, key: str) -> Iterator[Row]:
    """A store in which a trial is not finished; it is afterwards."""
    row, file = store.row(key), store.table_path("trials", key)
    assert row is not None
    content = file.read_bytes()
    file.unlink()
    yield facts_of(row)
    file.write_bytes(content)


def show(store: Store, uri: str, facts: Row, *steps: int) -> tuple[LiveRuns, str]:
    """Show a running trial as the uploader does, one upload a step; what shows it, and the id of its run."""
    clock, tracker = Clock(), Tracker.open_experiment(uri, store)
    shown = LiveRuns(store, clock)
    shown.begin(facts)
    for step in steps or (0,):
        shown.report(report_of(facts["key"], step))
        clock.now += INTERVAL
        shown.upload_next(tracker)
    return shown, live(every_run(uri, store.name))[facts["key"]]


def own_tags(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}


def test_results_complete_the_run_that_showed_the_trial(
    copied: Callable[[str], Store], uri: str, tmp_path: Path, prompt: None
) -> None:
    """Then it holds what a run holds that was written at once, and the live metrics, which readers leave out."""
    store, other = copied("a"), default_uri(tmp_path)
    key, rest = store.keys()
    reconcile_runs(store, other)
    with running(store, key) as facts:
        uploader = Uploader(uri, store)
        listener = UploadingListener(Deaf(), uploader)
        uploader.wait_until_open()
        listener.begin(facts)
        for step in (1, 2):
            listener.report(report_of(key, step, nll=1 / step))
            until(lambda: metric_steps(uri, key, "live_val_nll")[-1:] == [step])  # noqa: B023
        runs = every_run(uri)
        shown = runs[live(runs)[key]]
        assert shown.info.status == "RUNNING"
        assert shown.info.run_name == run_name(facts, read_object(store.folder / "sweep.json"))
        assert own_tags(shown.data.tags) == {
            "key": key,
            "sweep": store.name,
            "role": facts["role"],
            "configuration": facts["configuration"],
            "content": "pending",
        }
        names = ("dataset", "model", "construction", "seed")
        assert shown.data.params == {name: str(facts[name]) for name in names}
        assert shown.data.metrics == {"live_val_nll": 0.5, "live_progress": 0.2}
        assert {run.key for run in open_reader(uri, store.name).finished_runs()} == {rest}
    listener.advance(facts | {"status": "done"})
    assert uploader.finish() is None
    assert uploader.live.is_empty
    runs, fresh = every_run(uri), every_run(other)
    ended, wanted = runs[live(runs)[key]], fresh[live(fresh)[key]]
    assert ended.info.run_id == shown.info.run_id
    assert ended.info.run_name == wanted.info.run_name
    assert (ended.info.status, ended.info.end_time) == ("FINISHED", wanted.info.end_time)
    assert ended.data.params == wanted.data.params
    assert own_tags(ended.data.tags) == own_tags(wanted.data.tags)
    ours = {name: value for name, value in ended.data.metrics.items() if not name.startswith("live_")}
    assert ours == wanted.data.metrics
    for name in ours:
        histories = [
            connect_client(where).get_metric_history(run.info.run_id, name)
            for where, run in ((uri, ended), (other, wanted))
        ]
        points = [[(point.step, point.value, point.timestamp) for point in history] for history in histories]
        assert points[0] == points[1]
    assert metric_steps(uri, key, "live_val_nll") == [1, 2]
    one_run_each(store, uri)
    assert reconcile_runs(store, uri) == []
    for reader in (open_reader(uri, store.name), ClientReader(Tracker.find_experiment(uri, store.name))):
        (run,) = [run for run in reader.finished_runs() if run.key == key]
        assert run.metrics == by_column(wanted.data.metrics)


class Slow:
    """A tracker whose every request takes so long."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds, self._ids = clock, seconds, itertools.count()
        self.requests: list[float] = []
        self.steps: dict[str, list[int]] = {}
        self.client = SimpleNamespace(log_batch=self._log_batch)

    def _wait(self) -> None:
        self.requests.append(self._clock.now)
        self._clock.now += self._seconds

    def runs_of(self, key: str) -> list[Any]:
        self._wait()
        return []

    def create_run(self, key: str, began: int, tags: Row) -> str:
        self._wait()
        return key

    def end_open_runs(self, keys: list[str], status: str) -> None:
        self._wait()

    def _log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self._wait()
        if metrics:
            self.steps.setdefault(run_id, []).append(metrics[0].step)


def any_facts(key: str) -> Row:
    return facts_of(dict.fromkeys(("role", "configuration", "dataset", "model", "construction"), "x") | {
        "key": key, "epochs": 1, "seed": 0
    })  # fmt: skip


def test_a_slow_server_gets_a_part_of_the_reports_in_a_part_of_the_time(tmp_path: Path) -> None:
    clock, seconds = Clock(), 0.5
    shown, tracker = LiveRuns(Store(tmp_path / "sweep"), clock), Slow(clock, seconds)
    keys = [f"{number:016x}" for number in range(20)]
    for key in keys:
        shown.begin(any_facts(key))
    for step in range(1, 2000):
        for key in keys:
            shown.report(report_of(key, step))
        shown.upload_next(tracker)  # type: ignore[arg-type]
        clock.now += 0.2
    spent = seconds * len(tracker.requests)
    assert SHARE / 2 < spent / clock.now <= SHARE * 1.1
    assert tracker.steps.keys() == set(keys)  # each has its turn
    assert all(steps == sorted(set(steps)) for steps in tracker.steps.values())
    assert sum(map(len, tracker.steps.values())) <= clock.now / INTERVAL * len(keys)


def test_each_trial_has_a_pause(tmp_path: Path) -> None:
    """However fast MLflow is."""
    clock = Clock()
    shown, tracker, step = LiveRuns(Store(tmp_path / "sweep"), clock), Slow(clock, 0.0), 0
    shown.begin(any_facts("a"))
    while clock.now < FIRST + 10 * INTERVAL:
        step += 1
        shown.report(report_of("a", step))
        shown.upload_next(tracker)  # type: ignore[arg-type]
        clock.now += 0.1
    assert len(tracker.steps["a"]) in (10, 11)


def test_a_short_trial_costs_no_request(tmp_path: Path) -> None:
    clock = Clock()
    shown, tracker = LiveRuns(Store(tmp_path / "sweep"), clock), Slow(clock, 0.0)
    shown.begin(any_facts("a"))
    shown.report(report_of("a", 1))
    clock.now = 0.9 * FIRST
    shown.upload_next(tracker)  # type: ignore[arg-type]
    shown.finish("a")
    clock.now = 10 * INTERVAL
    shown.upload_next(tracker)  # type: ignore[arg-type]
    assert tracker.requests == []
    assert shown.is_empty


def test_a_failed_trial_ends_its_run_and_continues_it_when_it_is_retried(
    copied: Callable[[str], Store], uri: str, prompt: None
) -> None:
    store = copied("a")
    key = store.keys()[0]
    with running(store, key) as facts:
        uploader = Uploader(uri, store)
        listener = UploadingListener(Deaf(), uploader)
        uploader.wait_until_open()
        listener.begin(facts)
        listener.report(report_of(key, 1))
        until(lambda: metric_steps(uri, key, "live_progress") == [1])
        run_id = live(every_run(uri))[key]
        listener.advance(facts | {"status": "failed", "error": "out of memory"})
        until(lambda: every_run(uri)[run_id].info.status == "FAILED")
        assert uploader.finish() is None
        assert reconcile_runs(store, uri) == []
        assert is_tracked(store, uri)
        uploader = Uploader(uri, store)
        listener = UploadingListener(Deaf(), uploader)
        listener.begin(facts)
        for step in (1, 2):
            listener.report(report_of(key, step))
        uploader.wait_until_open()
        until(lambda: metric_steps(uri, key, "live_progress") == [1, 2])
        assert every_run(uri)[run_id].info.status == "RUNNING"
        listener.fail(key, "lost")
        assert uploader.finish() is None
        assert every_run(uri)[run_id].info.status == "FAILED"
    uploader = Uploader(uri, store)  # its row is of a launch that MLflow did not hear of
    assert uploader.finish() is None
    assert live(every_run(uri))[key] == run_id
    assert every_run(uri)[run_id].info.status == "FINISHED"
    one_run_each(store, uri)
    assert reconcile_runs(store, uri) == []


def test_sync_ends_what_a_killed_launcher_left_and_a_launch_continues_it(
    copied: Callable[[str], Store], uri: str
) -> None:
    store = copied("a")
    key, rest = store.keys()
    with running(store, key) as facts:
        reconcile_runs(store, uri)
        before = live(every_run(uri))
        _, run_id = show(store, uri, facts, 1, 2)
        assert every_run(uri)[run_id].info.status == "RUNNING"
        assert not is_tracked(store, uri)
        (difference,) = reconcile_runs(store, uri)
        assert (difference.key, difference.what) == (key, "was shown as running; ended as KILLED")
        assert every_run(uri)[run_id].info.status == "KILLED"
        assert every_run(uri)[run_id].info.end_time is not None
        assert is_tracked(store, uri)
        assert reconcile_runs(store, uri) == []
        _, again = show(store, uri, facts, 1, 2, 3)
        assert again == run_id
        assert every_run(uri)[run_id].info.status == "RUNNING"
        assert metric_steps(uri, key, "live_val_nll") == [1, 2, 3]
    (difference,) = reconcile_runs(store, uri)
    assert (difference.key, difference.what) == (key, "was unfinished")
    assert live(every_run(uri)) == {key: run_id, rest: before[rest]}
    one_run_each(store, uri)
    assert reconcile_runs(store, uri) == []


def test_a_launch_ends_what_a_killed_launcher_left_if_its_trial_does_not_run(
    copied: Callable[[str], Store], uri: str
) -> None:
    store = copied("a")
    key, rest = store.keys()
    with running(store, key) as facts:
        _, run_id = show(store, uri, facts, 1)
        twice = connect_client(uri).create_run(  # the response to a first request was lost
            Tracker.find_experiment(uri, store.name).experiment, tags={"key": key, "content": "pending"}
        )
        uploader = Uploader(uri, store)
        assert uploader.finish() is None
        runs = every_run(uri)
        assert runs[run_id].info.status == "KILLED"
        assert runs[twice.info.run_id].info.status == "KILLED"
        assert live(runs).keys() == {key, rest}
        assert is_tracked(store, uri)


def test_a_trial_with_earlier_results_is_shown_when_it_is_done(copied: Callable[[str], Store], uri: str) -> None:
    """The results of a lost row count until there are others: never are there two live runs."""
    store = copied("a")
    reconcile_runs(store, uri)
    before, key = every_run(uri), store.keys()[0]
    with running(store, key) as facts:
        _, run_id = show(store, uri, facts, 1, 2)
        after = every_run(uri)
        assert after.keys() == before.keys()
        assert after[run_id].data.metrics == before[run_id].data.metrics
        assert after[run_id].info.status == "FINISHED"


def test_other_sweeps_runs_stay_as_they_are(copied: Callable[[str], Store], uri: str, prompt: None) -> None:
    a, b = copied("a"), copied("b")
    (b.folder / "sweep.json").write_text('{"identity": "ffff"}')
    reconcile_runs(a, uri)
    before, key = every_run(uri), b.keys()[0]
    with running(b, key) as facts:
        uploader = Uploader(uri, b)
        listener = UploadingListener(Deaf(), uploader)
        listener.begin(facts)
        listener.report(report_of(key, 1))
        with pytest.raises(OwnerError):
            uploader.wait_until_open()
        assert isinstance(uploader.finish(), OwnerError)
    after = every_run(uri)
    assert {i: run.to_dictionary() for i, run in after.items()} == {i: run.to_dictionary() for i, run in before.items()}


def test_a_copy_that_was_slower_is_refused_and_no_longer_shown(copied: Callable[[str], Store], uri: str) -> None:
    """Two copies of a sweep run the same trial; the results of the first one count."""
    store = copied("a")
    row = store.row(store.keys()[0])
    assert row is not None
    with running(store, row["key"]) as facts:
        _, mine = show(store, uri, facts, 1)
    tracker = Tracker.open_experiment(uri, store)
    theirs = tracker.write_run(make_record(store, row | {"seconds": row["seconds"] + 5}), None)
    assert isinstance(Uploader(uri, store).finish(), OwnerError)
    runs = every_run(uri)
    assert live(runs)[row["key"]] == theirs
    assert runs[theirs].info.status == "FINISHED"
    assert (runs[mine].info.status, runs[mine].data.tags["superseded_by"]) == ("KILLED", theirs)


class LosingClient:
    """A client that logs nothing."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def log_batch(self, *args: Any, **named: Any) -> None:
        raise ConnectionError("503")


def test_a_lost_response_makes_no_second_run(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    key, clock, tracker = store.keys()[0], Clock(), Tracker.open_experiment(uri, store)

    with running(store, key) as facts:
        shown = LiveRuns(store, clock)
        shown.begin(facts)
        shown.report(report_of(key, 1))
        clock.now = FIRST
        broken = replace(tracker, client=cast(Any, LosingClient(tracker.client)))
        with pytest.raises(ConnectionError):
            shown.upload_next(broken)
        run_id = live(every_run(uri))[key]
        shown.report(report_of(key, 2))
        clock.now += 100 * INTERVAL
        shown.upload_next(tracker)
        assert live(every_run(uri))[key] == run_id
        assert metric_steps(uri, key, "live_progress") == [2]


class Curious:
    """A display that keeps Tune's loop from going on after a report until MLflow shows the trial that reported."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.seen: dict[str, str] = {}
        """Key → id of the run that showed a trial."""

    def show(self, event: str, status: Status, result: Row | None = None, words: str = "") -> None:
        if event == "report":
            for key in status.running.keys() - self.seen.keys():
                until(lambda: metric_steps(self._uri, key, "live_val_nll"))  # noqa: B023
                runs = every_run(self._uri)
                self.seen[key] = live(runs)[key]
                assert runs[self.seen[key]].info.status == "RUNNING"
                assert 0 < runs[self.seen[key]].data.metrics["live_progress"] <= 1


@pytest.mark.slow
def test_a_real_sweep_is_seen_while_it_runs(image_cache: Path, tmp_path: Path) -> None:
    options = Options(
        name="quickstart", storage=tmp_path, cache=image_cache, machine=Machine(device="cpu"), concurrency=1
    )
    uri = default_uri(tmp_path)
    display = Curious(uri)
    report = sweep(study(), options, display)
    assert report.untracked is None
    assert report.errors == []
    assert display.seen == live(every_run(uri))
    assert display.seen.keys() == set(report.store.keys())
    one_run_each(report.store)
    nothing_left_over(report.store)
    assert reconcile_runs(report.store, uri) == []
