"""Branches of one trunk, trained jointly under a constraint that keeps them in one basin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble, all_pairs, star_pairs
from basin.errors import UsageError
from basin.spec import Bounds, Search, Unit, check_fields
from basin.task import Task
from basin.training.constraints import ConstraintName, mixed_networks, tie_members
from basin.training.objective import Objective


@constructions.register("constrained")
@dataclass(frozen=True, kw_only=True)
class Constrained:
    """L(Θ) = ( 1/K Σ_k ℓ(θ_k) + β · E_W[ℓ(WΘ)] ) / (1 + β) from the trunk at time t on.

    That is the loss of `path`, `matching` and `simplex`; `beta` describes `star` and `proximal`.
    β = 0 is the instability analysis of Frankle (2020). The constraint's exact form in Lion et al. (2024) is not
    known to us; this one is ours.
    """

    version: ClassVar[int] = 2
    """2: the loss is divided by 1 + β, so that β is no longer a learning rate."""

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
    share_init: bool = True
    """Start the members from one network; false, with t = 0, is subspace training (Wortsman 2021)."""
    orthogonality: Annotated[float, Bounds(0)] = 0.0
    """Weight of the mean squared cosine between members, which pushes them apart; not a part of β."""
    restart_schedule: bool = False
    """Restart the learning-rate schedule in the branches, within their remaining budget."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.share_init and self.t:
            raise UsageError(
                f"share_init=false with t={self.t}: members without a trunk need t=0; set it, or share_init=true"
            )

    def needs(self, steps: int) -> dict[int, int]:
        """The trunk, up to t."""
        return {0: round(self.t * steps)}

    def spends(self, steps: int) -> Spends:
        """The trunk, then in each step the branches and the mixed networks."""
        trunk = round(self.t * steps)
        networks = self.members + mixed_networks(self.constraint, self.beta, self.draws, self.members)
        return Spends((steps - trunk) * networks, trunk)

    def objective(self) -> Objective:
        """The training objective of the branches."""
        return tie_members(
            Objective(),
            constraint=self.constraint,
            beta=self.beta,
            draws=self.draws,
            orthogonal=self.orthogonality,
        )

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The branches after each epoch."""
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members) if self.share_init else task.fresh(self.members),
            self.objective(),
            rate=task.restarted(self.t) if self.restart_schedule else None,
            since=round(self.t * task.stages.steps),
        )
        edges = star_pairs(self.members) if self.constraint == "star" else all_pairs(self.members)
        return (Ensemble.of_members(state.thetas, edges) for state in states)
