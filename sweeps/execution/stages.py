"""Train stages (trunks and teachers that trials share) as Ray tasks, before the trials that need them."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import ray
from ray.exceptions import RayError

from basin.environment import Place
from basin.provenance import collect_provenance
from basin.stages import kept_steps, reached_step
from basin.training.loop import DivergedError
from basin.trial import Trial, open_task
from sweeps.execution.provenance import check_environment
from sweeps.execution.session import POLL
from sweeps.execution.signals import postponed
from sweeps.study.job import Job
from sweeps.study.study import Study


@dataclass(frozen=True)
class Stage:
    """One network, trained from scratch up to the last step that a trial needs."""

    trial: Trial
    """Any trial with this recipe; its construction does not matter."""
    member: int
    step: int

    @property
    def key(self) -> tuple[str, int]:
        """Recipe and member, which identify the stage."""
        return self.trial.recipe_key, self.member

    def missing_passes(self, place: Place, images: int) -> int:
        """Passes still to be trained; 0 if every checkpoint that is kept exists."""
        folder, steps = place.runs / self.trial.recipe_key, self.trial.training.steps(images)
        last_kept = max((step for step in kept_steps(self.member, steps) if step <= self.step), default=0)
        trained = reached_step(folder, self.member, self.step, steps)
        return 0 if trained and trained == last_kept else self.step - trained


def plan_stages(study: Study, seed: int, images: int, owed: Iterable[Job] | None = None) -> list[Stage]:
    """List the stages of a study for a number of training images, each as long as any trial can need it.

    References, grids and chosen configurations need reported seeds; the search needs search seeds. `owed` are the
    references and grids still to be run, by default all.
    """
    farthest = study.space.farthest_points() if study.trials else []
    reported = study.reported_seeds(seed)
    searching = range(seed, seed + study.replicates) if study.trials else range(0)
    owed = study.owed_jobs(reported) if owed is None else owed
    searched = [study.resolve_trial({**point, "seed": one}) for one in {*reported, *searching} for point in farthest]
    stages: dict[tuple[str, int], Stage] = {}
    for trial in sorted([*(job.trial for job in owed), *searched], key=lambda one: one.seed):
        for member, step in trial.construction.needs(trial.training.steps(images)).items():
            stage = Stage(trial, member, step)
            if step and (stage.key not in stages or stages[stage.key].step < step):
                stages[stage.key] = stage
    return list(stages.values())


def train_stage(stage: Stage, place: Place, facts: Mapping[str, str]) -> None:
    """Train a stage up to its step. Divergence is ignored here: dependent trials report it.

    Raises UsageError if this process runs other code than the launcher, whose provenance is given.
    """
    check_environment(facts)
    place.prepare()
    with suppress(DivergedError):
        open_task(stage.trial, place).stages.state(stage.member, stage.step)


def train_stages(
    stages: list[Stage], place: Place, *, cpus: float, gpus: float, done: Callable[[], None] = lambda: None
) -> None:
    """Train stages as Ray tasks with the resources of a trial; `done` is called after each."""
    facts = collect_provenance()
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=10)(train_stage)
    waiting = [task.remote(stage, place, facts) for stage in stages]
    while waiting:
        with postponed():
            ready, waiting = ray.wait(waiting, timeout=POLL)
            with suppress(RayError):  # the first trial that needs a failed stage trains it, or reports the error
                ray.get(ready)
        for _ in ready:
            done()
