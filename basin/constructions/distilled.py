"""Distil a deep ensemble into one basin: branches of one trunk, each learning from its own teacher."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from basin.constructions import constructions
from basin.constructions.branches import Branches
from basin.ensemble import Ensemble
from basin.spec import Bounds, Search
from basin.task import Task
from basin.training.distillation import Distillation, Teachers
from basin.training.objective import mixup


@constructions.register("distilled")
@dataclass(frozen=True, kw_only=True)
class Distilled(Branches):
    """Student k learns from member k of a deep ensemble, under the constraint of `constrained`.

    ℓ_k = (1−λ)·CE + λ·τ²·KL(teacher ‖ student) at temperature τ (Hinton 2015). λ = 0 is `constrained`.
    """

    version: ClassVar[int] = 2
    """2: the loss is divided by 1 + β, so that β is no longer a learning rate."""

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

    def needs(self, steps: int) -> dict[int, int]:
        """A whole stage for each teacher; the trunk is part of the first."""
        return dict.fromkeys(range(self.members), steps)

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
            self.tie(loss.objective(inputs=mix)),
            since=round(self.t * task.stages.steps),
        )
        drawn: dict[str, Any] = {}
        if self.teacher == "own":  # the plane through student 0, teacher 1 and its student; the mean is nobody's
            drawn = {"companions": deep, "anchors": (0, self.members + 1, 1)}
        return (replace(Ensemble.of_members(state.thetas, self.edges), **drawn) for state in states)
