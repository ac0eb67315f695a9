"""Execution modes of a stack: one network after another, on threads, in one batched call, or as CUDA graphs.

All give the same numbers up to rounding. Which is fastest depends on the machine and on K, so `auto` measures.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, TypeVar

import torch

from basin.errors import UsageError

EngineName = Literal["auto", "loop", "threads", "stacked", "graphs"]
TRIES = 3
"""Timed steps of each mode under `auto`, after one warm-up step; the fastest counts."""
TOGETHER = 16
"""Largest number of networks evaluated in one call or trained concurrently: activations must fit into memory."""
BESIDE = 8
"""Networks evaluated concurrently on a GPU."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Prepare = Callable[["Way"], Callable[[], object]]
"""Way → a step in that way, which can be repeated."""


@dataclass(frozen=True)
class Way:
    """One execution mode with its width."""

    name: Literal["loop", "threads", "stacked", "graphs"] = "loop"
    threads: int = 1
    """CPU threads, one network on each."""
    width: int = 1
    """Networks per call, or concurrent networks on a GPU."""

    def parts(self, count: int) -> list[slice]:
        """Slices of `count` networks, each run in one call."""
        return [slice(start, min(start + self.width, count)) for start in range(0, count, self.width)]

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Apply `work` to every item and keep the order; calls must not be nested."""
        if self.name != "threads":
            return [work(item) for item in items]
        return list(_thread_pool(self.threads).map(work, items))


@cache
def _thread_pool(threads: int) -> ThreadPoolExecutor:
    # Each thread computes alone: that the threads of one operation wait for each other costs more than it gains.
    return ThreadPoolExecutor(threads, "basin", lambda: torch.set_num_threads(1))


@dataclass
class Engine:
    """The requested execution mode, and the one chosen for each number of networks."""

    wanted: EngineName = "loop"
    threads: int = 1
    """CPU threads of the trial."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _settled: dict[tuple[int, object], Way] = field(default_factory=dict)

    def training(self, count: int, kind: object, prepare: Prepare) -> Way:
        """Choose how to train `count` networks; `prepare` gives steps on a copy, `kind` is what else costs depend on.

        Raises torch.OutOfMemoryError if not even one network's step fits into memory.
        """
        if (count, kind) not in self._settled:
            self._settled[count, kind] = self._choose_way(count, prepare)
        return self._settled[count, kind]

    def evaluation(self) -> Way:
        """Choose how to evaluate many networks."""
        name = self.wanted
        if name == "auto":
            name = "graphs" if self.device.type == "cuda" else "threads" if self.threads > 1 else "loop"
        return Way(name, self.threads, {"stacked": TOGETHER, "graphs": BESIDE}.get(name, 1))

    @property
    def used(self) -> str:
        """Modes in which stacks of several networks were trained, joined by `+`; `loop` if there was none."""
        names = {way.name for (count, _), way in self._settled.items() if count > 1}
        return "+".join(sorted(names)) or "loop"

    def _choose_way(self, count: int, prepare: Prepare) -> Way:
        ways = self._candidate_ways(count)
        if len(ways) == 1:
            return ways[0] if ways[0].width == 1 else self._fit_width(ways[0], prepare)[0]
        tried = [self._fit_width(way, prepare) for way in ways]
        return min(tried, key=lambda timed: timed[1])[0]

    def _candidate_ways(self, count: int) -> list[Way]:
        widths = {"stacked": count, "graphs": max(count, TOGETHER)}
        if self.wanted != "auto":
            return [Way(self.wanted, self.threads, widths.get(self.wanted, 1))]
        if self.device.type == "cuda":
            return [Way(), Way("graphs", 1, widths["graphs"])]
        # On a CPU one call for all was slower than the loop in every case measured: docs/performance.md.
        return [Way()] if count == 1 or self.threads == 1 else [Way(), Way("threads", self.threads)]

    def _fit_width(self, way: Way, prepare: Prepare) -> tuple[Way, float]:
        """Halve the width until a step fits into memory; return the way and the seconds of its step."""
        while True:
            try:
                return way, fastest_time(prepare(way), self.device)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if way.width == 1:
                    raise
                way = replace(way, width=-(-way.width // 2))


def out_of_memory(error: BaseException) -> UsageError:
    """The error for a step of one network that does not fit; batches are not split, since BatchNorm sees whole ones."""
    words = str(error).strip().splitlines()[0]
    return UsageError(f"out of memory in one training step ({words}): reduce batch_size or width")


def fastest_time(step: Callable[[], object], device: torch.device, tries: int = TRIES) -> float:
    """Seconds of the fastest of `tries` calls after one warm-up call."""
    spent = []
    for _ in range(tries + 1):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - began)
    return min(spent[1:])
