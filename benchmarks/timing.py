"""Time contestants in turn (A B C A B C …), so that other load on the machine affects all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from benchmarks.progress import announce, format_seconds, tell_result

Contestant = Callable[[], float]
"""Does a piece of work and returns its amount: images, rows, passes, …"""
Clock = Callable[[], float]
"""Seconds: `time.perf_counter`, or `time.process_time` on a busy machine."""


@dataclass(frozen=True)
class Timing:
    """The repeats of one contestant, in the order in which they were timed."""

    seconds: tuple[float, ...]
    work: float
    """Work of each repeat."""

    @property
    def median(self) -> float:
        """Seconds of the middle repeat."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Seconds of the fastest and of the slowest repeat."""
        return min(self.seconds), max(self.seconds)

    @property
    def rate(self) -> float:
        """Work a second, at the median."""
        return self.work / self.median


def time_interleaved(
    contestants: Mapping[str, Contestant],
    *,
    repeats: int,
    warm: bool = True,
    title: str = "",
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time `repeats` rounds of all contestants, after one round that warms up and does not count, unless not `warm`.

    Prints each contestant's round; `title` distinguishes contestants of the same name. Raises ValueError if a
    contestant's rounds differ in their work: then its seconds cannot be compared.
    """
    work = _warm_up(contestants, repeats, title, clock) if warm else {}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(1, repeats + 1):
        for name, contestant in contestants.items():
            spent, done = _time_once(contestant, clock)
            if done != work.setdefault(name, done):
                raise ValueError(f"{name}: expected the same work in each round, got {done:g} after {work[name]:g}")
            seconds[name].append(spent)
            timing = Timing(tuple(seconds[name]), work[name])
            words = f"{spent:.3g} s in round {number} of {repeats}, median {timing.median:.3g} s, {timing.rate:.4g}/s"
            tell_result(_full_name(title, name), words)
        if left := repeats - number:
            announce(f"about {format_seconds(left * sum(times[-1] for times in seconds.values()))} left")
    return {name: Timing(tuple(seconds[name]), work[name]) for name in contestants}


def _warm_up(contestants: Mapping[str, Contestant], repeats: int, title: str, clock: Clock) -> dict[str, float]:
    """Run one round that does not count, and print how long the others will take; returns each contestant's work."""
    work, total = {}, 0.0
    for name, contestant in contestants.items():
        spent, work[name] = _time_once(contestant, clock)
        total += spent
        announce(f"{_full_name(title, name)}: {spent:.3g} s to warm up")
    announce(f"at most about {format_seconds(repeats * total)} for {repeats} rounds of {len(contestants)} contestants")
    return work


def _full_name(title: str, name: str) -> str:
    return f"{title}: {name}" if title else name


def rate_ratio(first: Timing, second: Timing) -> float:
    """Rate of `first` relative to that of `second`: the median over rounds, compared round by round."""
    rounds = zip(first.seconds, second.seconds, strict=True)
    return median((first.work / mine) / (second.work / others) for mine, others in rounds)


def _time_once(contestant: Contestant, clock: Clock) -> tuple[float, float]:
    _wait_for_gpu()
    began = clock()
    work = contestant()
    _wait_for_gpu()
    return clock() - began, work


def _wait_for_gpu() -> None:
    """Wait for what a GPU still has to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
