"""What a sweep prints while it runs, and what `status` says of it."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from cli.metric_words import metric_words
from cli.progress import INTERVAL, MOST, Bars, JsonLines, Lines, Quiet, choose_display, describe_below, describe_epoch
from cli.status import describe_status
from sweeps.status import BestTrial, RunningTrial, Status


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("q_bar", "q̄"),
        ("q_bar_reset", "q̄"),
        ("q_bar_interp", "q̄ (interp)"),
        ("basin_upper_reset", "basin_upper_reset"),
        ("nll", "nll"),
    ],
)
def test_a_metric_in_words_names_a_policy_only_where_it_differs(name: str, words: str) -> None:
    assert metric_words(name) == words


STATUS = Status(
    sweep="mine",
    host="node-1",
    pid=7,
    began=0.0,
    updated=100.0,
    phase="search",
    done=3,
    total=12,
    trials=3,
    trials_began=70.0,
    running={"abcdefghij": RunningTrial("abcdefghij", "distilled", 40, 80.0, 0.5)},
    failed={"klmnopqrst": "out of memory"},
    best=BestTrial("uvwxyz0123", "val_nll", 0.21, feasible=True),
)
RESULT = {"key": "abcdefghij", "construction": "distilled", "val_accuracy": 94.5, "val_q_bar_reset": 0.25}


def printed(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_has_a_line_for_each_trial_and_failure() -> None:
    console = printed()
    lines = Lines(console)
    lines.show("phase", replace(STATUS, done=0))
    lines.show("report", STATUS)
    lines.show("trial", STATUS, RESULT)
    lines.show("failed", STATUS, words="out of memory")
    lines.show("tick", STATUS)
    lines.show("note", STATUS, words="a message")
    phase, trial, failed, note = text(console).splitlines()
    assert phase.endswith("search: 12 to do")
    for part in (
        "search 3/12, 1 failed",
        "abcdefgh distilled accuracy 94.50",
        "0:01:13 left",
        "best nll 0.21 (uvwxyz01)",
    ):
        assert part in trial
    assert failed.endswith("failed: out of memory")
    assert note.endswith("a message")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_of_a_log_fit_the_terminal_and_keep_what_matters(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    lines = Lines(console)
    lines.show("trial", replace(STATUS, failed={}), RESULT | {"construction": "a-construction-with-a-long-name"})
    (line,) = text(console).splitlines()
    assert len(line) <= width
    assert "search 3/12 · abcdefgh" in line
    assert ("0:01:13 left" in line) == (width >= 60)
    assert ("best nll 0.21" in line) == (width >= 80)
    assert ("accuracy 94.50" in line) == (width >= 80)
    assert ("a-construction-with-a-long-name" in line) == (width >= 120)


def test_a_log_has_a_line_after_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, INTERVAL - 1, INTERVAL + 1, INTERVAL + 1, INTERVAL + 2])
    monkeypatch.setattr("cli.progress.time.monotonic", lambda: next(clock))
    console = printed()
    lines = Lines(console)
    for _ in range(3):
        lines.show("tick", STATUS)
    (line,) = text(console).splitlines()
    assert "search 3/12, 1 failed · 1 running (epochs 20/40) · 0:01:13 left" in line


def test_lines_of_json_are_read_by_machines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = JsonLines()
    shown.show("tick", STATUS)
    shown.show("trial", STATUS, RESULT | {"job": object()})
    shown.show("note", STATUS, words="a message")
    trial, note = map(json.loads, capsys.readouterr().out.splitlines())
    assert (trial["event"], trial["trial"]) == ("trial", RESULT)
    assert trial["status"]["done"] == 3
    assert trial["status"]["remaining_seconds"] == pytest.approx(30 / 3.5 * 8.5)
    assert (note["event"], note["message"]) == ("note", "a message")


def test_a_terminal_shows_bars() -> None:
    console = printed(terminal=True)
    bars = Bars(console)
    bars.show("phase", STATUS)
    bars.show("trial", STATUS, RESULT)
    bars.show("note", STATUS, words="a message")
    bars.show("phase", replace(STATUS, phase="verdicts"))
    before = len(text(console))
    bars.show("end", STATUS)
    assert "left" not in text(console)[before:]  # of a phase that is over
    assert "3/12" in text(console)
    assert "best nll 0.21" in text(console)
    assert "running abcdefgh distilled, epoch 20 of 40" in text(console)
    assert "a message" in text(console)


def test_of_many_running_trials_a_terminal_shows_the_first() -> None:
    many = {str(n): RunningTrial(str(n), "deep", 40, float(n)) for n in range(12)}
    lines = describe_below(replace(STATUS, running=many))
    assert lines[0] == "best nll 0.21 (uvwxyz01)"
    assert lines[1] == "running 0 deep, epoch 0 of 40"
    assert len(lines) == 1 + MOST + 1
    assert lines[-1] == "and 4 more running"
    assert describe_epoch(replace(many["0"], share=1.0)) == "measuring"


def test_the_display_is_the_one_asked_for() -> None:
    assert isinstance(choose_display(printed(terminal=True), quiet=False, log_format="text"), Bars)
    assert isinstance(choose_display(printed(), quiet=False, log_format="text"), Lines)
    assert isinstance(choose_display(printed(), quiet=False, log_format="json"), JsonLines)
    assert isinstance(choose_display(printed(), quiet=True, log_format="json"), Quiet)


def test_the_status_in_words() -> None:
    lines = describe_status(STATUS, 103.0)
    assert lines == [
        "sweep mine: running on node-1 (process 7)",
        "updated 0:00:03 ago, 0:01:40 after the launch",
        "phase search: 3 of 12 done; 3 trials in this launch",
        "time left: 0:01:13",
        "best so far: nll 0.21 (uvwxyz01)",
        "running: abcdefgh distilled, epoch 20 of 40, 0:00:20",
        "failed: klmnopqr out of memory",
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [("lost", "node-1 (process 7) no longer renews its status; rerun"), ("stopped", "rerun"), ("finished", "finished")],
)
def test_a_sweep_that_does_not_run_says_what_to_do(state: str, words: str) -> None:
    ended = replace(STATUS, state=state, running={})  # type: ignore[arg-type]
    assert words in describe_status(ended, 103.0)[0]
    assert not any(line.startswith("time left") for line in describe_status(ended, 103.0))
