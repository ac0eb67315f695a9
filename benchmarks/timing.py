"""Contestants timed in turn, A B C A B C …, so that what else the machine does meets each of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

Contestant = Callable[[], float]
"""Does a piece of work and returns how much it was: images, rows, passes, …"""


@dataclass(frozen=True)
class Timing:
    """The repeats of one contestant, in the order in which they were timed."""

    seconds: tuple[float, ...]
    work: float
    """What each repeat did."""

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


def interleaved(contestants: Mapping[str, Contestant], *, repeats: int, warm: bool = True) -> dict[str, Timing]:
    """Time `repeats` rounds of all contestants, after one round that warms up and does not count, unless not `warm`.

    Raises ValueError if a contestant's rounds differ in their work: then its seconds cannot be compared.
    """
    work = {name: _timed(contestant)[1] for name, contestant in contestants.items()} if warm else {}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            spent, done = _timed(contestant)
            if done != work.setdefault(name, done):
                raise ValueError(f"{name}: expected the same work in each round, got {done:g} after {work[name]:g}")
            seconds[name].append(spent)
    return {name: Timing(tuple(seconds[name]), work[name]) for name in contestants}


def ratio(first: Timing, second: Timing) -> float:
    """How many times the rate of `second` the rate of `first` is: the median over rounds, each compared with itself."""
    rounds = zip(first.seconds, second.seconds, strict=True)
    return median((first.work / mine) / (second.work / others) for mine, others in rounds)


def _timed(contestant: Contestant) -> tuple[float, float]:
    _synchronise()
    began = time.perf_counter()
    work = contestant()
    _synchronise()
    return time.perf_counter() - began, work


def _synchronise() -> None:
    """Wait for what a GPU still has to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
