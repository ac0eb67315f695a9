"""A deep ensemble re-discovered in one basin: branches of one trunk, each learning from its own teacher."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from basin.constraints import Constraint, mixed_networks, tied
from basin.constructions import Spends, constructions
from basin.distillation import Distillation, Teachers
from basin.ensemble import Ensemble, all_pairs, star_pairs
from basin.objective import mixup
from basin.spec import Bounds, Search, check
from basin.task import Task


@constructions.register("distilled")
@dataclass(frozen=True, kw_only=True)
class Distilled:
    """Student k learns from member k of a deep ensemble, under the constraint of `constrained`.

    ℓ_k = (1−λ)·CE + λ·τ²·KL(teacher ‖ student) at temperature τ (Hinton 2015). λ = 0 is `constrained`.
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
    temperature: Annotated[float, Bounds(0.05, 100), Search(0.5, 10, log=True)] = 2.0
    """Distillation temperature τ."""
    weight: Annotated[float, Bounds(0, 1), Search(0.1, 1)] = 0.9
    """Weight λ of the teacher against the labels."""

    teacher: Literal["own", "ensemble"] = "own"
    """Whether student k learns from teacher k, or every student from the teachers' mean."""
    inputs: Literal["plain", "mixup"] = "plain"
    """What students and teachers see; plain images that teachers fit carry little of their diversity (Nam 2021)."""
    mixup_alpha: Annotated[float, Bounds(0.01, 100)] = 1.0
    """Parameter of mixup's Beta(α, α)."""

    def __post_init__(self) -> None:
        check(self)

    def needs(self, steps: int) -> dict[int, int]:
        """The teachers' whole runs; the trunk is part of the first."""
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        """The trunk, then in each step the students and the mixed networks; teachers are counted apart."""
        trunk = round(self.t * steps)
        networks = self.members + mixed_networks(self.constraint, self.beta, self.draws)
        return Spends((steps - trunk) * networks, trunk)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The students after each epoch."""
        deep = task.teachers(self.members)
        teachers = Teachers(task.network, deep, task.meter)
        if self.weight and self.inputs == "plain" and task.data.augment == "none":
            teachers.remember(task.data, task.runs.training.batch_size)
        loss = Distillation(
            teachers, temperature=self.temperature, weight=self.weight, shared=self.teacher == "ensemble"
        )
        mix = mixup(self.mixup_alpha, task.data.classes) if self.inputs == "mixup" else None
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members),
            tied(
                loss.objective(inputs=mix),
                constraint=self.constraint,
                beta=self.beta,
                draws=self.draws,
            ),
        )
        edges = star_pairs(self.members) if self.constraint == "star" else all_pairs(self.members)
        own = self.teacher == "own"  # the plane through student 0, teacher 1 and its student; the mean is nobody's
        beside, anchors = (deep, (0, self.members + 1, 1)) if own else (None, (0, 1, 2))
        return (replace(Ensemble.of_members(s.thetas, edges), beside=beside, anchors=anchors) for s in states)
