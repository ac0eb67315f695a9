"""What `constrained` and `distilled` share: branches of one trunk, tied by a constraint."""

from dataclasses import dataclass
from typing import Annotated

from basin.constructions import Spends
from basin.ensemble import Edge, all_pairs, star_pairs
from basin.spec import Bounds, Checked, Search, Unit
from basin.training.constraints import ConstraintName, mixed_networks, tie_members
from basin.training.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Branches(Checked):
    """Members that leave one trunk at time t, and that a constraint ties together."""

    members: Annotated[int, Bounds(2), Unit("networks")] = 4
    """Networks in the ensemble, K."""
    t: Annotated[float, Bounds(0, 1), Search(0.005, 0.5, log=True)] = 0.1
    """Time parameter: fraction of the budget that the members share as one trunk."""
    beta: Annotated[float, Bounds(0), Search(1e-2, 10, log=True)] = 1.0
    """Constraint strength β: weight of the mixed networks' loss relative to the members' own, 0 for none. `path`,
    `matching` and `simplex` divide the sum by 1 + β, so that the learning rate means the same at every β. `star`
    divides member 0's gradient by 1 + βK/2 and the others' by 1 + βK/(2(K−1)), since it mixes member 0 more often.
    `proximal` mixes nothing and divides by nothing: β is the number of e-folds by which its pull alone shrinks the
    members' distance to their mean."""
    constraint: ConstraintName = "simplex"
    """Mixed networks of a step: path, a point between two random members; matching, K/2 disjoint pairs (one triple if
    K is odd); star, a point between member 0 and another; simplex, a point of the hull. proximal has none: it pulls
    members to their mean."""
    draws: Annotated[int, Bounds(1), Unit("draws")] = 1
    """Independent draws of the constraint's mixed networks per step, whose losses are averaged: more give less noisy
    gradients and cost passes (1 per draw, K/2 rounded down for matching)."""

    def spends(self, steps: int) -> Spends:
        """The trunk, then in each step the branches and the mixed networks; teachers are counted separately."""
        trunk = round(self.t * steps)
        networks = self.members + mixed_networks(self.constraint, self.beta, self.draws, self.members)
        return Spends((steps - trunk) * networks, trunk)

    def tie(self, objective: Objective, orthogonal: float = 0.0) -> Objective:
        """The training objective of the branches: this one, under the constraint."""
        return tie_members(
            objective, constraint=self.constraint, beta=self.beta, draws=self.draws, orthogonal=orthogonal
        )

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Pairs of members that the constraint connects."""
        return star_pairs(self.members) if self.constraint == "star" else all_pairs(self.members)
