"""The status of a sweep: counts, time left, best trial, and what a reader makes of its file."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from basin.files import Nowhere
from sweeps.status import FILE, SILENCE, BestTrial, RunningTrial, Status, StatusKeeper, read_status
from sweeps.storage.store import Row
from tests.support.tiny_sweep import study

NOW = 1000.0
RUNNING = Status(sweep="s", host="h", pid=1, began=NOW - 100, updated=NOW)


class Recorder:
    """A display that keeps what it is shown."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Status, str]] = []

    def show(self, event: str, status: Status, result: Row | None = None, words: str = "") -> None:
        if event != "tick":
            self.events.append((event, status, words))


def done(key: str, **scores: Any) -> Row:
    facts = {"key": key, "role": "search", "status": "done", "construction": "constrained"}
    return facts | {"val_nll": 0.5, "val_basin_upper_reset": 1.0} | scores


def kept(folder: Path, shown: Recorder) -> StatusKeeper:
    return StatusKeeper(study(), folder, Nowhere(), shown)


def content(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / FILE).read_text())
    return facts


def test_trials_are_counted_and_the_end_is_written(tmp_path: Path) -> None:
    shown = Recorder()
    with kept(tmp_path, shown) as keeper:
        keeper.phase("search", 3, 2)
        for key in ("a", "b", "c"):
            keeper.begin({"key": key, "construction": "constrained", "epochs": 40})
        keeper.report({"key": "b", "progress": 0.25})
        keeper.advance(done("a"))
        keeper.fail("c", "out of memory")
        now = keeper.status
        assert (now.done, now.total, now.later, now.trials) == (2, 3, 2, 1)
        assert {key: trial.share for key, trial in now.running.items()} == {"b": 0.25}
        assert now.failed == {"c": "out of memory"}
        keeper.advance({"key": "b", "status": "failed", "error": "no such file"})
        assert content(tmp_path)["state"] == "running"
    end = content(tmp_path)
    assert (end["state"], end["running"], end["done"]) == ("finished", {}, 3)
    assert end["failed"] == {"c": "out of memory", "b": "no such file"}
    assert [event for event, *_ in shown.events] == [
        "phase", "begin", "begin", "begin", "report", "trial", "failed", "failed", "end"
    ]  # fmt: skip


def test_a_launch_with_nothing_to_do_leaves_the_file_alone(tmp_path: Path) -> None:
    shown = Recorder()
    with kept(tmp_path, shown) as keeper:
        keeper.recall([done("a")])
        keeper.note("a message")
    assert not list(tmp_path.iterdir())
    assert [(event, words) for event, _, words in shown.events] == [("note", "a message")]


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [(UsageError("the disk is full"), "failed", "the disk is full"), (KeyboardInterrupt(), "stopped", None)],
)
def test_what_ended_it_is_written(tmp_path: Path, error: BaseException, state: str, words: str | None) -> None:
    keeper = kept(tmp_path, Recorder())
    keeper.phase("search", 1)
    keeper.__exit__(type(error), error, None)
    assert (content(tmp_path)["state"], content(tmp_path)["error"]) == (state, words)


def test_the_best_is_feasible_if_any_is_and_of_the_search(tmp_path: Path) -> None:
    keeper = kept(tmp_path, Recorder())
    keeper.recall([done("outside", val_nll=0.1, val_basin_upper_reset=9.0)])
    assert keeper.status.best == BestTrial("outside", "val_nll", 0.1, feasible=False)
    keeper.recall([done("inside", val_nll=0.6), done("better", val_nll=0.4), done("worse", val_nll=0.5)])
    assert keeper.status.best == BestTrial("better", "val_nll", 0.4, feasible=True)
    keeper.recall([done("deep", val_nll=0.01, role="reference"), done("bad", val_nll=0.0, status="diverged")])
    assert keeper.status.best.key == "better"


def test_the_time_left_is_at_the_rate_of_this_launch() -> None:
    assert RUNNING.remaining_seconds() is None
    half_way = replace(RUNNING, trials=4, trials_began=NOW - 80, done=6, total=10, later=3)
    assert half_way.remaining_seconds() == pytest.approx(20 * (4 + 3))
    assert replace(half_way, state="stopped").remaining_seconds() is None
    assert replace(half_way, phase="verdicts").remaining_seconds() is None


def test_the_time_left_counts_what_running_trials_have_done() -> None:
    """So the first trials of a phase do not count as if those beside them had not begun."""
    running = {str(n): RunningTrial(str(n), "deep", 10, NOW - 20, 0.5) for n in range(4)}
    first = replace(RUNNING, trials=0, trials_began=NOW - 20, done=0, total=10, later=0, running=running)
    assert first.remaining_seconds() == pytest.approx(20 / 2 * (10 - 2))
    assert replace(first, running={"0": running["0"]}).remaining_seconds() is None  # half a trial is too little


def test_a_running_launcher_that_stopped_writing_is_lost(tmp_path: Path) -> None:
    trial = RunningTrial("k", "deep", 40, NOW, 0.5)
    whole = replace(RUNNING, running={"k": trial}, best=BestTrial("k", "val_nll", 0.5, feasible=True))
    (tmp_path / FILE).write_text(json.dumps(whole.to_json()))
    assert read_status(Path.read_bytes, tmp_path, NOW + SILENCE / 2) == whole
    assert read_status(Path.read_bytes, tmp_path, NOW + 2 * SILENCE) == replace(whole, state="lost")
    ended = replace(whole, state="finished")
    (tmp_path / FILE).write_text(json.dumps(ended.to_json()))
    assert read_status(Path.read_bytes, tmp_path, NOW + 2 * SILENCE) == ended
    assert read_status(lambda path: None, tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sweep": "s"}', '{"running": [], "best": null}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError, match=r"status\.json: .*remove the file"):
        read_status(Path.read_bytes, tmp_path)


def test_the_file_is_renewed_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.status.BEAT", 0.01)
    with kept(tmp_path, Recorder()) as keeper:
        keeper.phase("search", 1)
        before = content(tmp_path)["updated"]
        limit = time.monotonic() + 30
        while content(tmp_path)["updated"] == before:
            assert time.monotonic() < limit
            time.sleep(0.01)
