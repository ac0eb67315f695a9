"""A construction that trains nothing, to measure the overhead of a trial."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble
from basin.spec import Bounds, Checked, Search
from basin.task import Task


@constructions.register("noop")
@dataclass(frozen=True, kw_only=True)
class Noop(Checked):
    """Networks as they were initialised."""

    version: ClassVar[int] = 1

    members: Annotated[int, Bounds(1)] = 2
    """Networks in the ensemble, K."""
    number: Annotated[float, Bounds(0, 1), Search(0, 1)] = 0.0
    """Tells one trial from another; nothing depends on it."""
    pause: Annotated[float, Bounds(0)] = 0.0
    """Seconds that growing takes, asleep."""

    def needs(self, steps: int) -> dict[int, int]:
        """Nothing."""
        return {}

    def spends(self, steps: int) -> Spends:
        """Nothing."""
        return Spends(0)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """One ensemble."""
        time.sleep(self.pause)
        yield Ensemble.of_members(task.fresh(self.members).thetas)
