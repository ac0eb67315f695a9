"""Run trials in worker processes of this machine, with the stages (trunks, teachers) that they share."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

from basin import interrupt
from basin.constructions import constructions
from basin.environment import Place
from basin.errors import UsageError
from basin.plugins import import_plugins
from basin.training.loop import DivergedError
from basin.trial import Trial, open_data, open_task

StageName = tuple[str, int]
"""Recipe key and member, which identify a stage."""


@dataclass(frozen=True)
class Work:
    """What a worker does in one go: train a stage, or run a trial whose stages are stored."""

    trial: Trial
    passes: int
    """Passes to train, if nothing of it is stored."""
    needs: frozenset[StageName] = frozenset()
    """Stages that must be trained before."""
    member: int | None = None
    """Member of the stage; None for the trial itself."""

    @property
    def stage(self) -> StageName | None:
        """Name of the stage; None for a trial."""
        return None if self.member is None else (self.trial.recipe_key, self.member)

    @property
    def kind(self) -> str:
        """The construction, or `stage`."""
        return constructions.name(self.trial.construction) if self.member is None else "stage"


@dataclass(frozen=True)
class Done:
    """Work that has ended."""

    work: Work
    seconds: float = 0.0
    """Wall time in its worker."""
    result: Any = None
    """What running the trial gave; None for a stage."""
    error: str = ""
    """Why it failed, in one line."""


def plan_work(trials: Sequence[Trial], place: Place) -> list[Work]:
    """List the work of trials in their order: before each trial the stages that no earlier one needs.

    A stage is as long as any trial needs it. Raises UsageError if the data cannot be used.
    """
    place = replace(place, machine=replace(place.machine, device="cpu"))
    images: dict[object, int] = {}
    for trial in trials:
        source = (trial.dataset, trial.split)
        images[source] = images.get(source) or len(open_data(trial, place).train)
    steps = [trial.training.steps(images[trial.dataset, trial.split]) for trial in trials]
    needs = [_needed_stages(trial, count) for trial, count in zip(trials, steps, strict=True)]
    longest: dict[StageName, int] = {}
    for one in needs:
        longest |= {name: max(step, longest.get(name, 0)) for name, step in one.items()}
    works: list[Work] = []
    for trial, count, one in zip(trials, steps, needs, strict=True):
        new = sorted(one.keys() & longest.keys())
        works += [Work(trial, longest.pop(name), member=name[1]) for name in new]
        works.append(Work(trial, trial.construction.spends(count).trained, frozenset(one)))
    return works


def _needed_stages(trial: Trial, steps: int) -> dict[StageName, int]:
    return {(trial.recipe_key, member): step for member, step in trial.construction.needs(steps).items() if step}


def train_stage(work: Work, place: Place) -> None:
    """Train a stage up to its step. Divergence is ignored here: dependent trials report it."""
    place.prepare()
    with suppress(DivergedError):
        open_task(work.trial, place).stages.state(work.member or 0, work.passes)


@dataclass(frozen=True)
class Pool:
    """Worker processes, each with one trial or stage at a time."""

    place: Place
    run_trial: Callable[[Work], Any]
    """Runs a trial in a worker; sent there by pickle. An error fails this trial only."""
    workers: int
    plugins: Sequence[str] = ()
    """Modules that each worker imports."""

    def run(
        self, works: Sequence[Work], report: Callable[[Done], None], may_begin: Callable[[Work], bool] = lambda _: True
    ) -> list[Work]:
        """Run all work that may begin, first come, first served; return what was left.

        If this is interrupted, workers store checkpoints of what they train, and end. Raises UsageError if a worker
        dies.
        """
        left, running = list(works), dict[Future[Done], Work]()
        missing = {work.stage for work in works}  # others are stored
        pool = ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("spawn"), _begin_worker, (tuple(self.plugins),)
        )
        try:
            while True:
                for work in [work for work in left if not work.needs & missing]:
                    if len(running) < self.workers and may_begin(work):
                        left.remove(work)
                        running[pool.submit(_run_work, work, self)] = work
                if not running:
                    return left
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    work = running.pop(future)
                    missing.discard(work.stage)
                    report(future.result())
        except BrokenProcessPool as error:
            words = "a worker process ended before its trial did (out of memory?): give fewer --workers, and rerun"
            raise UsageError(words) from error
        finally:
            if running:
                _stop_workers()
            pool.shutdown(cancel_futures=True)


def _run_work(work: Work, pool: Pool) -> Done:
    began, result, words = time.perf_counter(), None, ""
    try:
        if work.stage:
            train_stage(work, pool.place)
        else:
            result = pool.run_trial(work)
    except (UsageError, interrupt.PreemptedError) as error:
        words = str(error)
    except Exception as error:  # the other trials are run all the same
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = " ".join(f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})".split())
    return Done(work, time.perf_counter() - began, result, words)


def _begin_worker(plugins: Sequence[str]) -> None:
    """Leave signals to the parent, which ends this process by SIGTERM; end with the parent if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: interrupt.request_stop())
    Thread(target=_end_with_parent, daemon=True).start()
    import_plugins(plugins)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _stop_workers() -> None:
    for process in multiprocessing.active_children():
        process.terminate()
