"""The deep ensemble: independent networks, in many basins (Lakshminarayanan 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from basin import stack
from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble
from basin.spec import Bounds, check
from basin.task import Task


@constructions.register("deep")
@dataclass(frozen=True, kw_only=True)
class Deep:
    """K independent initialisations and data orders: the reference, and the teacher."""

    members: Annotated[int, Bounds(1)] = 4
    """Networks in the ensemble, K."""

    def __post_init__(self) -> None:
        check(self)

    def needs(self, steps: int) -> dict[int, int]:
        """All members' whole runs."""
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        """Those of its single runs."""
        return Spends(0, self.members * steps)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The ensemble of the first 1, 2, … K networks."""
        networks = []
        for member in range(self.members):
            networks.append(task.single(member).thetas)
            yield Ensemble.of_members(stack.concatenate(networks))
