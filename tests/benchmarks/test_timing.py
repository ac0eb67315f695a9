"""Rounds in turn, and the arithmetic on them."""

from itertools import count

import pytest
import torch

from benchmarks.machine import SIZES, Limit, measure_limit
from benchmarks.report import Report, as_json, as_text, compare_timings
from benchmarks.timing import Timing, rate_ratio, time_interleaved

FAST = Timing((1.0, 2.0, 3.0), work=10)
SLOW = Timing((2.0, 8.0, 3.0), work=5)


def test_contestants_take_turns_after_a_round_that_does_not_count() -> None:
    calls = []

    def contestant(name: str, work: float) -> float:
        calls.append(name)
        return work

    found = time_interleaved({"a": lambda: contestant("a", 3), "b": lambda: contestant("b", 4)}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert {name: (len(t.seconds), t.work) for name, t in found.items()} == {"a": (3, 3), "b": (3, 4)}
    assert all(second > 0 for timing in found.values() for second in timing.seconds)


def test_seconds_are_those_of_the_call() -> None:
    def busy() -> float:
        torch.mm(torch.ones(600, 600), torch.ones(600, 600))
        return 1

    found = time_interleaved({"idle": lambda: 1, "busy": busy}, repeats=5)
    assert rate_ratio(found["idle"], found["busy"]) > 1


def test_work_that_changes_is_refused() -> None:
    growing = count(1)
    with pytest.raises(ValueError, match=r"a: expected the same work in each round, got 2 after 1"):
        time_interleaved({"a": lambda: next(growing)}, repeats=2)


def test_median_spread_rate() -> None:
    assert (FAST.median, FAST.spread, FAST.rate) == (2.0, (1.0, 3.0), 5.0)


def test_a_ratio_is_of_rates_round_by_round() -> None:
    assert rate_ratio(FAST, SLOW) == 4.0  # of 4, 8 and 2
    assert rate_ratio(SLOW, FAST) == 0.25
    assert rate_ratio(FAST, FAST) == 1.0


def test_a_table_compares_with_reference_and_limit() -> None:
    table = compare_timings("t", {"fast": FAST, "slow": SLOW}, unit="images", reference="slow", limits={"fast": 20.0})
    fast, slow = table.lines
    assert (fast.median, fast.fastest, fast.slowest, fast.rate, fast.ratio, fast.share) == (2, 1, 3, 5, 4, 0.25)
    assert (slow.ratio, slow.share) == (1, None)


def test_a_report_prints_all_it_has() -> None:
    table = compare_timings(
        "loading", {"fast": FAST, "slow": SLOW}, unit="images", reference="slow", limits={"fast": 20.0}
    )
    report = Report("loader", {"cpu": "X", "threads": 2}, (table,), {"growth (1)": 1.25}, Limit(1e9, 2e9, 3e9))
    text = as_text(report)
    for words in ("# loader", "cpu X, threads 2", "**loading**", "images/s", "× slow", "25 %", "growth (1): 1.25"):
        assert words in text
    assert "float32 1 GFLOP/s, bfloat16 2 GFLOP/s, memory 3 GB/s" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert as_json(report)["tables"][0]["lines"][0]["share"] == 0.25


def test_least_time_is_the_slower_of_arithmetic_and_memory() -> None:
    limit = Limit(float32=100.0, bfloat16=400.0, bandwidth=10.0)
    assert limit.seconds(flops=200) == 2
    assert limit.seconds(flops=200, moved=50) == 5
    assert limit.seconds(flops=800, moved=1, dtype=torch.bfloat16) == 2


def test_larger_products_are_not_tried_where_one_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16 took ten minutes for the largest."""
    tried = []

    def measure(size: int, device: torch.device, dtype: torch.dtype) -> float:
        tried.append((size, dtype))
        return 9.0 if dtype is torch.bfloat16 else 0.01

    monkeypatch.setattr("benchmarks.machine._product_seconds", measure)
    limit = measure_limit(torch.device("cpu"))
    sizes = SIZES["cpu"]
    assert tried == [*((size, torch.float32) for size in sizes), (sizes[0], torch.bfloat16)]
    assert limit.float32 == 2 * sizes[-1] ** 3 / 0.01
    assert limit.bfloat16 == 2 * sizes[0] ** 3 / 9.0


@pytest.mark.slow
def test_the_limit_is_not_below_what_is_done() -> None:
    """A product of another shape, timed by itself, is no faster than the limit allows."""
    limit = measure_limit(torch.device("cpu"))
    left, right = torch.randn(1500, 1500), torch.randn(1500, 1500)
    timing = time_interleaved({"mm": lambda: torch.mm(left, right).shape[0] * 2 * 1500**2}, repeats=5)["mm"]
    assert 0.2 < timing.rate / limit.float32 < 1.25
    assert limit.bfloat16 > 0
    assert 1e8 < limit.bandwidth < 1e13
