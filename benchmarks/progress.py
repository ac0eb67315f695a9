"""Progress of a benchmark: each result as soon as it is known, on stderr, so that stdout keeps tables and JSON only.

The results are remembered too: if the benchmark is stopped, the command prints what is known.
"""

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

Item = TypeVar("Item")

_known: dict[str, str] = {}
_began = time.perf_counter()


def begin_progress() -> None:
    """Forget the results of an earlier benchmark, and start the clock."""
    global _began
    _known.clear()
    _began = time.perf_counter()


def announce(words: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.perf_counter() - _began:7.1f} s] {words}", file=sys.stderr, flush=True)


def tell_result(name: str, value: str) -> None:
    """Print a result, and remember the latest of its name."""
    _known[name] = value
    announce(f"{name}: {value}")


def tell_numbers(numbers: Mapping[str, float]) -> None:
    """Print and remember numbers by name."""
    for name, value in numbers.items():
        tell_result(name, f"{value:.4g}")


def known_results() -> dict[str, str]:
    """The latest result of each name since the start of the benchmark."""
    return dict(_known)


def paced(items: Collection[Item], unit: str) -> Iterator[Item]:
    """Yield the items; after each, print how many are done and how long the others take at the same pace.

    `unit` is a plural noun, such as `sweeps`.
    """
    count, began = len(items), time.perf_counter()
    for done, item in enumerate(items):
        if done:
            spent = time.perf_counter() - began
            announce(f"{done} of {count} {unit}; about {format_seconds(spent / done * (count - done))} left")
        elif count > 1:
            announce(f"{count} {unit}; the first shows how long they take")
        yield item


def format_seconds(seconds: float) -> str:
    """Seconds, or minutes from 100 seconds on."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"
