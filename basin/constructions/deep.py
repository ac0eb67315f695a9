"""The deep ensemble: independent networks, in many basins (Lakshminarayanan 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from basin import stack
from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble
from basin.spec import Bounds, Checked, Unit
from basin.task import Task


@constructions.register("deep")
@dataclass(frozen=True, kw_only=True)
class Deep(Checked):
    """K independent initialisations and data orders: the reference, and the teacher."""

    version: ClassVar[int] = 1

    members: Annotated[int, Bounds(1), Unit("networks")] = 4
    """Networks in the ensemble, K."""

    def needs(self, steps: int) -> dict[int, int]:
        """A whole stage for each member."""
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        """The passes of its stages."""
        return Spends(0, self.members * steps)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The ensemble of the first 1, 2, … K networks."""
        networks = []
        for member in range(self.members):
            networks.append(task.single(member).thetas)
            yield Ensemble.of_members(stack.join_stacks(networks))
