"""Overhead of a trial: no-op and small real trials through Ray, the result tables and MLflow."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
from ray import tune

from basin.constructions import constructions
from basin.data import DataSplit, datasets
from basin.environment import Machine, Place
from basin.measure import Evaluation
from basin.models import models
from basin.spec import Bounds, Checked
from basin.training.loop import Training
from basin.trial import Trial, identify_data
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce, paced, tell_numbers, tell_result
from benchmarks.report import Report, Table, compare_timings
from benchmarks.timing import Timing
from sweeps.execution.options import Options as SweepOptions
from sweeps.execution.tuner import Announcer, Pool
from sweeps.execution.worker import Worker, run_job
from sweeps.status import Status
from sweeps.storage.store import Row, Store
from sweeps.study.space import Space
from sweeps.study.study import Study
from sweeps.sweep import sweep

SLOTS = int(describe_machine(torch.device("cpu"))["cores"])
"""Trials that run at once: one a core."""
MINUTE = 60.0
COLD, COLD_TRIALS = "Tune's function trials", 6
"""A process for each trial, as Tune does by default."""


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Number of trials."""

    trials: Annotated[int, Bounds(10)] = 40
    """Trials of each sweep that is repeated."""
    most: Annotated[int, Bounds(0)] = 1000
    """No-op trials of the sweep that shows growth, once with each sampler; 0 leaves it out."""
    minutes: Annotated[int, Bounds(0)] = 8
    """Trials of a minute each, asleep; 0 leaves them out."""


@dataclass
class Watch:
    """A listener, and a display, that records the times of a sweep's events."""

    began: float = field(default_factory=time.perf_counter)
    phases: dict[str, float] = field(default_factory=dict)
    """Start of each phase."""
    total: int = 0
    """Parts of the current phase."""
    ends: list[float] = field(default_factory=list)
    """End of each trial."""
    done: float = 0.0

    def phase(self, name: str, total: int, later: int = 0) -> None:
        """A phase begins."""
        self.phases[name], self.total = time.perf_counter(), total
        announce(f"{name}: {total} to do")

    def begin(self, trial: Row) -> None:
        """Ignored."""

    def report(self, result: Row) -> None:
        """Ignored."""

    def fail(self, key: str, error: str) -> None:
        """Ignored."""

    def show(self, event: str, status: Status, result: Row | None = None, words: str = "") -> None:
        """Record the events of a sweep as a display of it."""
        if event == "phase":
            self.phase(status.phase, status.total)
        elif event == "trial":
            self.advance(result)

    def advance(self, result: Row | None = None) -> None:
        """A trial, or the work of another phase, is done."""
        if result:
            self.ends.append(time.perf_counter())
            if (done := len(self.ends)) % max(1, self.total // 10) == 0:
                announce(f"{done} of {self.total} trials, {self.ends[-1] - self.began:.1f} s since the launch")

    def note(self, words: str) -> None:
        """Ignored."""


@dataclass(frozen=True)
class Ran:
    """One sweep that has been run."""

    watch: Watch
    own: list[float]
    """Seconds of each trial's own work."""
    slots: int
    """Trials that run at once."""

    @property
    def wall(self) -> float:
        """Seconds from the start to the last trial in MLflow."""
        return self.watch.done - self.watch.began

    @property
    def launch(self) -> float:
        """Seconds to the end of the first trial, its own work left out."""
        return self.watch.ends[0] - self.watch.began - median(self.own)

    @property
    def tracking(self) -> float:
        """Seconds per trial to reconcile MLflow."""
        return (self.watch.done - self.watch.phases["tracking"]) / len(self.own)

    def another(self, first: int | None = None, last: int = -1) -> float:
        """Seconds of a slot that a trial took beyond its own work, in a part of a sweep or after each slot's first."""
        ends = self.watch.ends
        first, last = self.slots - 1 if first is None else first, last % len(ends)
        return self.slots * (ends[last] - ends[first]) / (last - first) - median(self.own)

    @property
    def share(self) -> float:
        """Fraction of the slots' total time that was not a trial's own work."""
        return 1 - sum(self.own) / (self.slots * self.wall)


def run(options: Options) -> Report:
    """Repeat small sweeps in turn, then run the long ones once."""
    settings = options.settle(Settings())
    warnings.simplefilter("ignore")  # of Ray's and MLflow's dependencies
    kinds: Mapping[str, Callable[[], Ran]] = {
        COLD: lambda: _run_cold(no_op(COLD_TRIALS)),
        "no-op trials": lambda: _run_sweep(no_op(settings.trials)),
        "small real trials": lambda: _run_sweep(small_trials(settings.trials)),
    }
    rounds: dict[str, list[Ran]] = {name: [] for name in kinds}
    for number, name in paced(list(product(range(1, options.repeats + 1), kinds)), "sweeps"):
        ran = kinds[name]()
        rounds[name].append(ran)
        tell_result(f"{name}, round {number}", f"another trial {ran.another():.3g} s, launch {ran.launch:.3g} s")
    numbers = {f"{name}: own work of a trial (s)": median(_all_own(ran)) for name, ran in rounds.items()}
    if settings.most:
        for sampler in ("random", "tpe"):
            grown = _growth_numbers(sampler, _run_sweep(no_op(settings.most, sampler)))
            tell_numbers(grown)
            numbers |= grown
    if settings.minutes:
        ran = _run_sweep(no_op(settings.minutes, pause=MINUTE))
        numbers[f"{settings.minutes} trials of a minute: overhead, launch and MLflow included (%)"] = 100 * ran.share
        numbers[f"{settings.minutes} trials of a minute: another trial (s)"] = ran.another()
    return Report("sweep-overhead", describe_machine(options.device), _overhead_tables(rounds), numbers)


def _overhead_tables(rounds: Mapping[str, list[Ran]]) -> tuple[Table, ...]:
    ours = {name: ran for name, ran in rounds.items() if name != COLD}
    first = next(iter(ours))
    return (
        _timing_table("another trial, a slot's time beyond the trial's own work", rounds, Ran.another, COLD),
        _timing_table("launch, to the end of the first trial", rounds, lambda ran: ran.launch, COLD),
        _timing_table("bringing MLflow in line, a trial", ours, lambda ran: ran.tracking, first),
    )


def _timing_table(
    title: str, rounds: Mapping[str, list[Ran]], seconds: Callable[[Ran], float], reference: str
) -> Table:
    timings = {name: Timing(tuple(map(seconds, ran)), work=1) for name, ran in rounds.items()}
    return compare_timings(title, timings, unit="trials", reference=reference)


def _all_own(rounds: list[Ran]) -> list[float]:
    return list(chain.from_iterable(ran.own for ran in rounds))


def _growth_numbers(sampler: str, ran: Ran) -> dict[str, float]:
    """A trial's cost in each tenth of a long sweep: it stays the same where the whole grows linearly."""
    count = len(ran.own)
    tenth = count // 10
    parts = {
        f"{count} no-op trials, {sampler}: another trial from {start} on (s)": ran.another(start, start + tenth - 1)
        for start in range(0, count - tenth + 1, tenth)
    }
    return parts | {
        f"{count} no-op trials, {sampler}: MLflow, a trial (s)": ran.tracking,
        f"{count} no-op trials, {sampler}: whole sweep (s)": ran.wall,
    }


def no_op(trials: int, sampler: str = "random", pause: float = 0.0) -> Study:
    """Trials that train nothing, on the smallest network, measured as little as possible.

    Only this call registers their construction: it is not one of the program's.
    """
    from benchmarks.noop import Noop

    return Study(
        base=Trial(
            dataset=datasets.make("digits"),
            model=models.make("mlp", hidden=8),
            construction=Noop(pause=pause),
            split=DataSplit(train_size=100, val_size=60, test_size=60),
            training=Training(epochs=1),
            evaluation=Evaluation(alphas=3, hull_points=0),
        ),
        space=Space(("noop",), ("number",)),
        trials=trials,
        sampler=sampler,
        references=(),
        seeds=1,
    )


def small_trials(trials: int) -> Study:
    """Trials that train for a second or two: branches of a trunk, tied by a constraint."""
    study = no_op(trials)
    base = replace(
        study.base, construction=constructions.make("constrained", members=2, t=0.0), training=Training(epochs=100)
    )
    return replace(study, base=base, space=Space(("constrained",), ("beta",)))


def _run_sweep(study: Study) -> Ran:
    """Run a study from nothing, in a folder that is thrown away."""
    with TemporaryDirectory() as folder:
        watch = Watch()
        report = sweep(study, _sweep_options(folder), watch)
        watch.done = time.perf_counter()
        work_seconds = [row["seconds"] for row in report.store.rows()]
    if len(work_seconds) != study.trials:
        raise RuntimeError(f"expected {study.trials} finished trials, got {len(work_seconds)}: {report.errors[:1]}")
    return Ran(watch, work_seconds, SLOTS)


def _run_cold(study: Study) -> Ran:
    """Run the same trials with plain Ray Tune."""
    with TemporaryDirectory() as folder:
        watch, store = Watch(), Store(Path(folder, "cold"))
        place = Place(machine=Machine(device="cpu"), runs=Path(folder, "runs"))
        study = replace(study, base=identify_data(study.base, place))
        points = [{"construction": "noop", "number": number / study.trials} for number in range(study.trials)]
        jobs = [study.make_job("search", point) for point in points]
        with Pool(study, store, place, _sweep_options(folder), watch):
            tune.Tuner(
                tune.with_parameters(run_job, worker=Worker(study, store, place)),
                param_space={"job": tune.grid_search(jobs)},
                run_config=tune.RunConfig(storage_path=folder, callbacks=[Announcer(watch)], verbose=0),
            ).fit()
        watch.done = time.perf_counter()
        return Ran(watch, [row["seconds"] for row in store.rows()], SLOTS)


def _sweep_options(folder: str) -> SweepOptions:
    return SweepOptions(name="overhead", storage=Path(folder), machine=Machine(device="cpu"))
