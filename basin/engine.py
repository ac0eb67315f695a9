"""How the networks of a stack are run: one after another, side by side on threads, or together in one call.

The three give the same numbers up to rounding. What is fastest depends on the machine and on K, so `auto` measures.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, TypeVar

import torch

from basin.errors import UsageError

EngineName = Literal["auto", "loop", "threads", "stacked"]
TRIES = 3
"""Steps of each way that `auto` times, after one that warms up; the fastest counts."""
TOGETHER = 16
"""Networks evaluated in one call at most: their activations must fit into memory."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """One way to run several networks."""

    name: Literal["loop", "threads", "stacked"] = "loop"
    threads: int = 1
    """CPU threads that work side by side, one network on each."""
    width: int = 1
    """Networks in one call."""

    def parts(self, count: int) -> list[slice]:
        """`count` networks in groups that are run in one call."""
        return [slice(start, min(start + self.width, count)) for start in range(0, count, self.width)]

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`work` on every item, in their order; not to be nested."""
        if self.name != "threads":
            return [work(item) for item in items]
        return list(_pool(self.threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Each thread computes alone: that the threads of one operation wait for each other costs more than it gains.
    return ThreadPoolExecutor(threads, "basin", lambda: torch.set_num_threads(1))


@dataclass
class Engine:
    """What was asked for, and what was found to be best for each number of networks."""

    wanted: EngineName = "loop"
    threads: int = 1
    """CPU threads of the trial."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _settled: dict[tuple[int, object], Way] = field(default_factory=dict)

    def training(self, count: int, kind: object, attempt: Callable[[Way], None]) -> Way:
        """How to train `count` networks; `attempt` does a step on a copy, `kind` names what else its cost depends on.

        Raises torch.OutOfMemoryError if not even one network's step fits into memory.
        """
        if (count, kind) not in self._settled:
            self._settled[count, kind] = self._choose(count, attempt)
        return self._settled[count, kind]

    def evaluation(self) -> Way:
        """How to evaluate many networks."""
        name = self.wanted
        if name == "auto":
            name = "stacked" if self.device.type == "cuda" else "threads" if self.threads > 1 else "loop"
        return Way(name, self.threads, TOGETHER if name == "stacked" else 1)

    @property
    def used(self) -> str:
        """The ways in which stacks of more than one network were trained, joined by `+`; `loop` if there was none."""
        names = {way.name for (count, _), way in self._settled.items() if count > 1}
        return "+".join(sorted(names)) or "loop"

    def _choose(self, count: int, attempt: Callable[[Way], None]) -> Way:
        ways = [self._fitting(way, attempt) for way in self._candidates(count)]
        if len(ways) == 1:
            return ways[0]
        return min(ways, key=lambda way: fastest(lambda: attempt(way), self.device))

    def _candidates(self, count: int) -> list[Way]:
        if self.wanted != "auto":
            return [Way(self.wanted, self.threads, count if self.wanted == "stacked" else 1)]
        if count == 1 or (self.device.type == "cpu" and self.threads == 1):
            return [Way()]
        # On a CPU one call for all was slower than the loop in every case measured: docs/performance.md.
        other = Way("threads", self.threads) if self.device.type == "cpu" else Way("stacked", 1, count)
        return [Way(), other]

    def _fitting(self, way: Way, attempt: Callable[[Way], None]) -> Way:
        """The way with as many networks in one call as fit into memory."""
        if way.name != "stacked":
            return way
        while True:
            try:
                attempt(way)
                return way
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if way.width == 1:
                    raise
                way = replace(way, width=-(-way.width // 2))


def out_of_memory(error: BaseException) -> UsageError:
    """What to do when one network's step does not fit; batches are not split, for BatchNorm sees whole ones."""
    words = str(error).strip().splitlines()[0]
    return UsageError(f"one network's step does not fit into memory ({words}): give a smaller batch_size or width")


def fastest(step: Callable[[], object], device: torch.device, tries: int = TRIES) -> float:
    """Seconds of the fastest of a few tries after one that warms up."""
    spent = []
    for _ in range(tries + 1):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - began)
    return min(spent[1:])
