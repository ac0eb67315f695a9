"""What trials share: single runs (trunks, teachers) are trained once, in parallel, before the trials that need them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import ray
from ray.exceptions import RayError

from basin.place import Place
from basin.runs import kept, reached
from basin.training import DivergedError
from basin.trial import Trial, open_task
from sweeps.study import Changes, Study


@dataclass(frozen=True)
class Stage:
    """One network's training from scratch, as far as any trial needs it."""

    trial: Trial
    """Any trial with this recipe; its construction does not matter."""
    member: int
    step: int

    @property
    def key(self) -> tuple[str, int]:
        """What the stage is: the recipe of the run and the member."""
        return self.trial.recipe_key, self.member

    def left(self, place: Place, images: int) -> int:
        """Passes until the stage is there; 0 where all is there that stays on disk of it."""
        folder, steps = place.runs / self.trial.recipe_key, self.trial.training.steps(images)
        stays = max((step for step in kept(self.member, steps) if step <= self.step), default=0)
        there = reached(folder, self.member, self.step, steps)
        return 0 if there and there == stays else self.step - there


def plan(study: Study, seeds: Sequence[int], images: int) -> list[Stage]:
    """The stages of a study on so many training images, each as far as any trial can need it."""
    farthest = study.space.farthest() if study.trials else []
    owed: list[Changes] = [changes for _, changes in study.owed([0])]
    more = range(seeds[0] + len(seeds), seeds[0] + study.replicates)
    stages: dict[tuple[str, int], Stage] = {}
    for seed in [*seeds, *more]:
        for point in [*(owed if seed in seeds else ()), *farthest]:
            trial = study.trial({**point, "seed": seed})
            for member, step in trial.construction.needs(trial.training.steps(images)).items():
                stage = Stage(trial, member, step)
                if step and (stage.key not in stages or stages[stage.key].step < step):
                    stages[stage.key] = stage
    return list(stages.values())


def make(stage: Stage, place: Place) -> None:
    """Train a stage as far as it is not there yet; if it diverges, so will the trials that need it, and they say so."""
    place.prepare()
    with suppress(DivergedError):
        open_task(stage.trial, place).runs.state(stage.member, stage.step)


def make_all(
    stages: list[Stage], place: Place, *, cpus: float, gpus: float, done: Callable[[], None] = lambda: None
) -> None:
    """Train the stages as Ray tasks with the resources of a trial; `done` is called after each."""
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=10)(make)
    waiting = [task.remote(stage, place) for stage in stages]
    while waiting:
        ready, waiting = ray.wait(waiting)
        with suppress(RayError):  # what failed is made by the first trial that needs it, or that says why it cannot be
            ray.get(ready)
        done()
