"""Branches of one trunk, trained jointly under a constraint that keeps them in one basin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from basin.constraints import TIES, Constraint
from basin.constructions import constructions
from basin.ensemble import Ensemble, all_pairs
from basin.objective import Objective
from basin.spec import Bounds, Search, check
from basin.task import Task


@constructions.register("constrained")
@dataclass(frozen=True, kw_only=True)
class Constrained:
    """L(Θ) = 1/K Σ_k ℓ(θ_k) + β · E_W[ℓ(WΘ)] from the trunk at time t on.

    β = 0 is the instability analysis of Frankle (2020). The constraint's exact form in Lion et al. (2024) is not
    known to us; this one is ours.
    """

    members: Annotated[int, Bounds(2)] = 4
    """Networks in the ensemble, K."""
    t: Annotated[float, Bounds(0, 1), Search(0.02, 0.5)] = 0.1
    """Time parameter: fraction of the budget that the members share as one trunk."""
    beta: Annotated[float, Bounds(0), Search(1e-2, 10, log=True)] = 1.0
    """Constraint strength β: weight of the mixed networks' loss, or of the pull to the mean."""
    constraint: Constraint = "path"
    """Which mixtures are constrained: points of the segments between pairs, or the distance to the mean."""

    def __post_init__(self) -> None:
        check(self)

    def needs(self, steps: int) -> dict[int, int]:
        """The trunk, up to t."""
        return {0: round(self.t * steps)}

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The branches after each epoch."""
        tie = TIES[self.constraint]
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members),
            Objective(beta=self.beta, sampler=tie.sampler, penalty=tie.penalty),
        )
        return (Ensemble.of_members(state.thetas, all_pairs(self.members)) for state in states)
