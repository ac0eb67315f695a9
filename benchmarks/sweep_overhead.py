"""What a trial costs beyond its own work: no-op and small real trials through Ray, the ledger and MLflow."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
from ray import tune

from basin.constructions import constructions
from basin.data import Split, datasets
from basin.measure import Evaluation
from basin.models import models
from basin.place import Machine, Place
from basin.spec import Bounds, check
from basin.training import Training
from basin.trial import Trial, identify
from benchmarks import noop
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report, Table, compare
from benchmarks.timing import Timing
from sweeps.options import Options as SweepOptions
from sweeps.space import Space
from sweeps.store import Row, Store
from sweeps.study import Study
from sweeps.sweep import sweep
from sweeps.trainable import Worker, trainable
from sweeps.tuning import Announcer, Pool

SLOTS = int(describe(torch.device("cpu"))["cores"])
"""Trials that run at once: one a core."""
MINUTE = 60.0
COLD, COLD_TRIALS = "Tune's function trials", 6
"""A process for each trial, as Tune does by default."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How many trials are run."""

    trials: Annotated[int, Bounds(10)] = 40
    """Trials of each sweep that is repeated."""
    most: Annotated[int, Bounds(0)] = 1000
    """No-op trials of the sweep that shows growth, once with each sampler; 0 leaves it out."""
    minutes: Annotated[int, Bounds(0)] = 8
    """Trials of a minute each, asleep; 0 leaves them out."""

    def __post_init__(self) -> None:
        check(self)


@dataclass
class Watch:
    """A sweep's listener that notes when what happened."""

    began: float = field(default_factory=time.perf_counter)
    phases: dict[str, float] = field(default_factory=dict)
    """When each began."""
    ends: list[float] = field(default_factory=list)
    """When each trial ended."""
    done: float = 0.0

    def phase(self, name: str, total: int) -> None:
        """A phase begins."""
        self.phases[name] = time.perf_counter()

    def advance(self, result: Row | None = None) -> None:
        """A trial, or the work of another phase, is done."""
        if result:
            self.ends.append(time.perf_counter())

    def note(self, words: str) -> None:
        """Nothing that a benchmark measures."""


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
        """Seconds to bring MLflow in line, a trial."""
        return (self.watch.done - self.watch.phases["tracking"]) / len(self.own)

    def another(self, first: int | None = None, last: int = -1) -> float:
        """Seconds of a slot that a trial took beyond its own work, in a part of a sweep or after each slot's first."""
        ends = self.watch.ends
        first, last = self.slots - 1 if first is None else first, last % len(ends)
        return self.slots * (ends[last] - ends[first]) / (last - first) - median(self.own)

    @property
    def share(self) -> float:
        """Of the slots' time from start to end, what was no trial's own work."""
        return 1 - sum(self.own) / (self.slots * self.wall)


def run(options: Options) -> Report:
    """Repeat small sweeps in turn, then run the long ones once."""
    settings = options.settle(Settings())
    warnings.simplefilter("ignore")  # of Ray's and MLflow's dependencies
    kinds: Mapping[str, Callable[[], Ran]] = {
        COLD: lambda: _cold(no_op(COLD_TRIALS)),
        "no-op trials": lambda: _sweep(no_op(settings.trials)),
        "small real trials": lambda: _sweep(small(settings.trials)),
    }
    rounds: dict[str, list[Ran]] = {name: [] for name in kinds}
    for _ in range(options.repeats):
        for name, kind in kinds.items():
            rounds[name].append(kind())
    numbers = {f"{name}: own work of a trial (s)": median(_all_own(ran)) for name, ran in rounds.items()}
    if settings.most:
        for sampler in ("random", "tpe"):
            numbers |= _growth(sampler, _sweep(no_op(settings.most, sampler)))
    if settings.minutes:
        ran = _sweep(no_op(settings.minutes, pause=MINUTE))
        numbers[f"{settings.minutes} trials of a minute: overhead, launch and MLflow included (%)"] = 100 * ran.share
        numbers[f"{settings.minutes} trials of a minute: another trial (s)"] = ran.another()
    return Report("sweep-overhead", describe(options.device), _tables(rounds), numbers)


def _tables(rounds: Mapping[str, list[Ran]]) -> tuple[Table, ...]:
    ours = {name: ran for name, ran in rounds.items() if name != COLD}
    first = next(iter(ours))
    return (
        _table("another trial, a slot's time beyond the trial's own work", rounds, Ran.another, COLD),
        _table("launch, to the end of the first trial", rounds, lambda ran: ran.launch, COLD),
        _table("bringing MLflow in line, a trial", ours, lambda ran: ran.tracking, first),
    )


def _table(title: str, rounds: Mapping[str, list[Ran]], seconds: Callable[[Ran], float], reference: str) -> Table:
    timings = {name: Timing(tuple(map(seconds, ran)), work=1) for name, ran in rounds.items()}
    return compare(title, timings, unit="trials", reference=reference)


def _all_own(rounds: list[Ran]) -> list[float]:
    return [seconds for ran in rounds for seconds in ran.own]


def _growth(sampler: str, ran: Ran) -> dict[str, float]:
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
    """Trials that train nothing, on the smallest network, measured as little as possible."""
    return Study(
        base=Trial(
            dataset=datasets.make("digits"),
            model=models.make("mlp", hidden=8),
            construction=noop.Noop(pause=pause),
            split=Split(train_size=100, val_size=60, test_size=60),
            training=Training(epochs=1),
            evaluation=Evaluation(alphas=3, hull_points=0),
        ),
        space=Space(("noop",), ("number",)),
        trials=trials,
        sampler=sampler,
        references=(),
        seeds=1,
    )


def small(trials: int) -> Study:
    """Trials that train for a second or two: branches of a trunk, tied by a constraint."""
    study = no_op(trials)
    base = replace(
        study.base, construction=constructions.make("constrained", members=2, t=0.0), training=Training(epochs=100)
    )
    return replace(study, base=base, space=Space(("constrained",), ("beta",)))


def _sweep(study: Study) -> Ran:
    """Run a study from nothing, in a folder that is thrown away."""
    with TemporaryDirectory() as folder:
        watch = Watch()
        report = sweep(study, _options(folder), watch)
        watch.done = time.perf_counter()
        own = [row["seconds"] for row in report.store.rows()]
    if len(own) != study.trials:
        raise RuntimeError(f"expected {study.trials} finished trials, got {len(own)}: {report.errors[:1]}")
    return Ran(watch, own, SLOTS)


def _cold(study: Study) -> Ran:
    """The same trials through Tune as one would write it."""
    with TemporaryDirectory() as folder:
        watch, store = Watch(), Store(Path(folder, "cold"))
        place = Place(machine=Machine(device="cpu"), runs=Path(folder, "runs"))
        study = replace(study, base=identify(study.base, place))
        points = [{"construction": "noop", "number": number / study.trials} for number in range(study.trials)]
        with Pool(study, store, place, _options(folder), watch):
            tune.Tuner(
                tune.with_parameters(trainable, worker=Worker(study, store, place)),
                param_space={"role": "search", "changes": tune.grid_search(points)},
                run_config=tune.RunConfig(storage_path=folder, callbacks=[Announcer(watch)], verbose=0),
            ).fit()
        watch.done = time.perf_counter()
        return Ran(watch, [row["seconds"] for row in store.rows()], SLOTS)


def _options(folder: str) -> SweepOptions:
    return SweepOptions(name="overhead", storage=Path(folder), machine=Machine(device="cpu"))
