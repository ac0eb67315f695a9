"""How the networks of a stack are run: one after another, on threads, together in one call, or as recorded CUDA graphs.

All give the same numbers up to rounding. What is fastest depends on the machine and on K, so `auto` measures.
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
"""Steps of each way that `auto` times, after one that warms up; the fastest counts."""
TOGETHER = 16
"""Networks evaluated in one call, or trained side by side, at most: their activations must fit into memory."""
BESIDE = 8
"""Networks evaluated side by side on a GPU."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Prepare = Callable[["Way"], Callable[[], object]]
"""What to do once for a way → a step in that way, which may be done again and again."""


@dataclass(frozen=True)
class Way:
    """One way to run several networks."""

    name: Literal["loop", "threads", "stacked", "graphs"] = "loop"
    threads: int = 1
    """CPU threads that work side by side, one network on each."""
    width: int = 1
    """Networks in one call, or side by side on a GPU."""

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

    def training(self, count: int, kind: object, prepare: Prepare) -> Way:
        """How to train `count` networks; `prepare` gives steps on a copy, `kind` names what else their cost depends on.

        Raises torch.OutOfMemoryError if not even one network's step fits into memory.
        """
        if (count, kind) not in self._settled:
            self._settled[count, kind] = self._choose(count, prepare)
        return self._settled[count, kind]

    def evaluation(self) -> Way:
        """How to evaluate many networks."""
        name = self.wanted
        if name == "auto":
            name = "graphs" if self.device.type == "cuda" else "threads" if self.threads > 1 else "loop"
        return Way(name, self.threads, {"stacked": TOGETHER, "graphs": BESIDE}.get(name, 1))

    @property
    def used(self) -> str:
        """The ways in which stacks of more than one network were trained, joined by `+`; `loop` if there was none."""
        names = {way.name for (count, _), way in self._settled.items() if count > 1}
        return "+".join(sorted(names)) or "loop"

    def _choose(self, count: int, prepare: Prepare) -> Way:
        ways = self._candidates(count)
        if len(ways) == 1:
            return ways[0] if ways[0].width == 1 else self._fitting(ways[0], prepare)[0]
        tried = [self._fitting(way, prepare) for way in ways]
        return min(tried, key=lambda found: found[1])[0]

    def _candidates(self, count: int) -> list[Way]:
        widths = {"stacked": count, "graphs": max(count, TOGETHER)}
        if self.wanted != "auto":
            return [Way(self.wanted, self.threads, widths.get(self.wanted, 1))]
        if self.device.type == "cuda":
            return [Way(), Way("graphs", 1, widths["graphs"])]
        # On a CPU one call for all was slower than the loop in every case measured: docs/performance.md.
        return [Way()] if count == 1 or self.threads == 1 else [Way(), Way("threads", self.threads)]

    def _fitting(self, way: Way, prepare: Prepare) -> tuple[Way, float]:
        """The way with as many networks at once as fit into memory, and the seconds of its step."""
        while True:
            try:
                return way, fastest(prepare(way), self.device)
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
