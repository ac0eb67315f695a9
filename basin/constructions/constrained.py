"""Branches of one trunk, trained jointly under a constraint that keeps them in one basin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from basin.constraints import Constraint, mixed_networks, tied
from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble, all_pairs, star_pairs
from basin.errors import UsageError
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
    t: Annotated[float, Bounds(0, 1), Search(0.005, 0.5, log=True)] = 0.1
    """Time parameter: fraction of the budget that the members share as one trunk."""
    beta: Annotated[float, Bounds(0), Search(1e-2, 10, log=True)] = 1.0
    """Constraint strength β: weight of the mixed networks' loss, or of the pull to the mean."""
    constraint: Constraint = "path"
    """Which mixtures count: of pairs, of member 0 with others, of all members; or the distance to the mean."""
    draws: Annotated[int, Bounds(1)] = 1
    """Mixed networks of a step, whose mean loss counts: more make a strong constraint less noisy, and cost passes."""
    share_init: bool = True
    """Whether the members start from one network; false, with t = 0, is subspace training (Wortsman 2021)."""
    orthogonality: Annotated[float, Bounds(0)] = 0.0
    """Weight of the mean squared cosine between members, which pushes them apart; not a part of β."""
    restart_schedule: bool = False
    """Whether the branches run the whole learning-rate schedule anew in the budget that is left to them."""

    def __post_init__(self) -> None:
        check(self)
        if not self.share_init and self.t:
            raise UsageError(f"share_init=false with t={self.t}: expected t=0, for without a trunk nothing is shared")

    def needs(self, steps: int) -> dict[int, int]:
        """The trunk, up to t."""
        return {0: round(self.t * steps)}

    def spends(self, steps: int) -> Spends:
        """The trunk, then in each step the branches and the mixed networks."""
        trunk = round(self.t * steps)
        networks = self.members + mixed_networks(self.constraint, self.beta, self.draws)
        return Spends((steps - trunk) * networks, trunk)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The branches after each epoch."""
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members) if self.share_init else task.fresh(self.members),
            tied(
                Objective(),
                constraint=self.constraint,
                beta=self.beta,
                draws=self.draws,
                orthogonal=self.orthogonality,
            ),
            rate=task.restarted(self.t) if self.restart_schedule else None,
        )
        edges = star_pairs(self.members) if self.constraint == "star" else all_pairs(self.members)
        return (Ensemble.of_members(state.thetas, edges) for state in states)
