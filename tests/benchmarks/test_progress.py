"""Results are printed when they are known, with the time that is left, and again when a benchmark is stopped."""

import json
import os
import signal
from collections.abc import Callable

import pytest

from benchmarks import machine_limit
from benchmarks.__main__ import main
from benchmarks.options import Options
from benchmarks.progress import begin_progress, known_results, paced, tell_numbers, tell_result
from benchmarks.report import Report
from benchmarks.timing import time_interleaved


def test_each_round_is_printed_when_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    begin_progress()
    seen: list[str] = []

    def contestant() -> float:
        seen.append(capsys.readouterr().err)
        return 7

    time_interleaved({"fast": contestant}, repeats=2, title="members")
    warm, first, second = (*seen[1:], capsys.readouterr().err)
    assert "members: fast" in warm
    assert "for 2 rounds of 1 contestants" in warm
    assert "members: fast" in first
    assert "round 1 of 2" in first
    assert "about 0 s left" in first
    assert "round 2 of 2" in second
    assert "left" not in second
    assert "round 2 of 2" in known_results()["members: fast"]


def test_parts_say_how_long_the_others_take(capsys: pytest.CaptureFixture[str]) -> None:
    done = [(part, capsys.readouterr().err) for part in paced(["a", "b", "c"], "sweeps")]
    assert [part for part, _ in done] == ["a", "b", "c"]
    assert "3 sweeps" in done[0][1]
    assert "1 of 3 sweeps; about 0 s left" in done[1][1]


def test_a_new_benchmark_knows_nothing() -> None:
    tell_numbers({"files": 3.0})
    assert known_results()["files"] == "3"
    begin_progress()
    assert known_results() == {}


def stopped_run(number: int) -> Callable[[Options], Report]:
    def run(options: Options) -> Report:
        tell_result("trial 1", "51 %")
        os.kill(os.getpid(), number)
        raise AssertionError("the signal was not heard")

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_benchmark_prints_what_is_known(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_limit, "run", stopped_run(number))
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    assert main(["machine-limit"]) == 128 + number
    text = capsys.readouterr().out
    assert "stopped" in text
    assert "- trial 1: 51 %" in text
    assert main(["machine-limit", "--json"]) == 128 + number
    assert json.loads(capsys.readouterr().out) == {
        "benchmark": "machine-limit",
        "stopped": True,
        "known": {"trial 1": "51 %"},
    }
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
