"""Branches of one trunk, trained jointly under a constraint that keeps them in one basin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from basin.constructions import constructions
from basin.constructions.branches import Branches
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.spec import Bounds
from basin.task import Task
from basin.training.objective import Objective


@constructions.register("constrained")
@dataclass(frozen=True, kw_only=True)
class Constrained(Branches):
    """L(Θ) = ( 1/K Σ_k ℓ(θ_k) + β · E_W[ℓ(WΘ)] ) / (1 + β) from the trunk at time t on.

    That is the loss of `path`, `matching` and `simplex`; `beta` describes `star` and `proximal`.
    β = 0 is the instability analysis of Frankle (2020). The constraint's exact form in Lion et al. (2024) is not
    known to us; this one is ours.
    """

    version: ClassVar[int] = 2
    """2: the loss is divided by 1 + β, so that β is no longer a learning rate."""

    share_init: bool = True
    """Start the members from one network; false, with t = 0, is subspace training (Wortsman 2021)."""
    orthogonality: Annotated[float, Bounds(0)] = 0.0
    """Weight of the mean squared cosine between members, which pushes them apart; not a part of β."""
    restart_schedule: bool = False
    """Restart the learning-rate schedule in the branches, within their remaining budget."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.share_init and self.t:
            raise UsageError(
                f"share_init=false with t={self.t}: members without a trunk need t=0; set it, or share_init=true"
            )

    def needs(self, steps: int) -> dict[int, int]:
        """The trunk, up to t."""
        return {0: round(self.t * steps)}

    def objective(self) -> Objective:
        """The training objective of the branches."""
        return self.tie(Objective(), self.orthogonality)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The branches after each epoch."""
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members) if self.share_init else task.fresh(self.members),
            self.objective(),
            rate=task.restarted(self.t) if self.restart_schedule else None,
            since=round(self.t * task.stages.steps),
        )
        return (Ensemble.of_members(state.thetas, self.edges) for state in states)
