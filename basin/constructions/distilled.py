"""Distil a deep ensemble into one basin: branches of one trunk, each learning from its own teacher."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble, all_pairs, star_pairs
from basin.spec import Bounds, Search, Unit, check_fields
from basin.task import Task
from basin.training.constraints import ConstraintName, mixed_networks, tie_members
from basin.training.distillation import Distillation, Teachers
from basin.training.objective import mixup


@constructions.register("distilled")
@dataclass(frozen=True, kw_only=True)
class Distilled:
    """Student k learns from member k of a deep ensemble, under the constraint of `constrained`.

    ℓ_k = (1−λ)·CE + λ·τ²·KL(teacher ‖ student) at temperature τ (Hinton 2015). λ = 0 is `constrained`.
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
    temperature: Annotated[float, Bounds(0.05, 100), Search(0.5, 10, log=True)] = 2.0
    """Distillation temperature τ."""
    weight: Annotated[float, Bounds(0, 1), Search(0.1, 1)] = 0.9
    """Weight λ of the teacher against the labels."""

    teacher: Literal["own", "ensemble"] = "own"
    """Teacher of student k: teacher k (own), or the mean of all teachers (ensemble)."""
    inputs: Literal["plain", "mixup"] = "plain"
    """Images for students and teachers; plain images that teachers fit carry little of their diversity (Nam 2021)."""
    mixup_alpha: Annotated[float, Bounds(0.01, 100)] = 1.0
    """Parameter of mixup's Beta(α, α)."""

    def __post_init__(self) -> None:
        check_fields(self)

    def needs(self, steps: int) -> dict[int, int]:
        """A whole stage for each teacher; the trunk is part of the first."""
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        """The trunk, then in each step the students and the mixed networks; teachers are counted separately."""
        trunk = round(self.t * steps)
        networks = self.members + mixed_networks(self.constraint, self.beta, self.draws, self.members)
        return Spends((steps - trunk) * networks, trunk)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The students after each epoch."""
        deep = task.teachers(self.members)
        teachers = Teachers(task.network, deep)
        if self.weight and self.inputs == "plain" and task.data.augment == "none":
            task.meter.teacher_forwards += teachers.remember(task.data, task.stages.training.batch_size)
        loss = Distillation(
            teachers, temperature=self.temperature, weight=self.weight, shared=self.teacher == "ensemble"
        )
        mix = mixup(self.mixup_alpha, task.data.classes) if self.inputs == "mixup" else None
        states = task.train(
            lambda: task.trunk(self.t).branch(self.members),
            tie_members(
                loss.objective(inputs=mix),
                constraint=self.constraint,
                beta=self.beta,
                draws=self.draws,
            ),
            since=round(self.t * task.stages.steps),
        )
        edges = star_pairs(self.members) if self.constraint == "star" else all_pairs(self.members)
        one_to_one = (
            self.teacher == "own"
        )  # the plane through student 0, teacher 1 and its student; the mean is nobody's
        drawn_with, anchors = (deep, (0, self.members + 1, 1)) if one_to_one else (None, (0, 1, 2))
        return (replace(Ensemble.of_members(s.thetas, edges), companions=drawn_with, anchors=anchors) for s in states)
