"""What grows with the number of trials: the driver's memory, files, time a trial; and what random kills cost."""

import os
import random
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Annotated

from basin.place import Machine
from basin.spec import Bounds, check
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report
from benchmarks.sweep_overhead import SLOTS, Ran, Watch, no_op, small
from sweeps.options import Options as SweepOptions
from sweeps.store import Store
from sweeps.sweep import sweep

MEBIBYTE = 2**20
LAUNCHES = 5
"""How often a sweep whose trials failed is launched again."""
Numbers = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How many trials are run."""

    trials: Annotated[int, Bounds(20)] = 1000
    """No-op trials."""
    real: Annotated[int, Bounds(0)] = 200
    """Small real trials, whose workers are killed now and then; 0 leaves them out."""
    every: Annotated[float, Bounds(1)] = 15.0
    """Seconds between two kills, in the mean."""
    sampler: str = "random"
    """Of the no-op trials."""

    def __post_init__(self) -> None:
        check(self)


@dataclass
class Meter:
    """What a thread sees of a sweep every second."""

    watch: Watch
    folder: Path
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Finished trials, and MiB resident in the driver."""
    worked: list[tuple[int, float]] = field(default_factory=list)
    """Finished trials, and processor seconds that the driver has spent: they do not depend on what else runs."""
    tune_files: int = 0
    """Files of Tune's own at once, at most; they go with their phase."""

    def look(self) -> None:
        """Take one sample."""
        self.memory.append((len(self.watch.ends), resident(os.getpid()) / MEBIBYTE))
        self.worked.append((len(self.watch.ends), time.process_time()))
        self.tune_files = max(self.tune_files, len(list(files(self.folder / "tune"))))

    def at(self, samples: list[tuple[int, float]], trials: int) -> float:
        """A sample when so many trials had ended."""
        return next((value for count, value in samples if count >= trials), samples[-1][1])


def run(options: Options) -> Report:
    """One sweep of no-op trials, then one of real trials whose workers are killed at random moments."""
    settings = options.settle(Settings())
    warnings.simplefilter("ignore")  # of Ray's and MLflow's dependencies
    with TemporaryDirectory() as folder:
        numbers = _growth(settings, Path(folder))
    if settings.real:
        with TemporaryDirectory() as folder:
            numbers |= _killed(settings, Path(folder))
    return Report("scale", describe(options.device), (), numbers)


def _growth(settings: Settings, storage: Path) -> Numbers:
    count, study = settings.trials, no_op(settings.trials, settings.sampler)
    watch = Watch()
    meter = Meter(watch, storage / "scale")
    with every(1.0, meter.look):
        report = sweep(study, _options(storage), watch)
        watch.done = time.perf_counter()
    ran = Ran(watch, [row["seconds"] for row in report.store.rows()], SLOTS)
    tenth = count // 10
    name = f"{count} no-op trials, {settings.sampler}:"
    numbers: Numbers = {}
    for start in range(0, count - tenth + 1, tenth):
        numbers[f"{name} from {start} on, another trial (s)"] = ran.another(start, start + tenth - 1)
        numbers[f"{name} from {start} on, driver's memory (MiB)"] = meter.at(meter.memory, start + 1)
        spent = meter.at(meter.worked, start + tenth) - meter.at(meter.worked, start + 1)
        numbers[f"{name} from {start} on, driver's processor time a trial (s)"] = spent / (tenth - 1)
    numbers[f"{name} driver's memory at the end (MiB)"] = meter.memory[-1][1]
    numbers[f"{name} bringing MLflow in line, a trial (s)"] = ran.tracking
    numbers[f"{name} whole sweep (s)"] = ran.wall
    return numbers | {f"{name} {what}": value for what, value in _left(report.store, count, meter.tune_files).items()}


def _left(store: Store, trials: int, tune_files: int) -> Numbers:
    """Files and bytes of a finished sweep, a trial."""
    sizes = {path: path.stat().st_size for path in files(store.folder)}
    database = store.folder.parent / "mlflow.db"
    artifacts = [path for path in sizes if "mlartifacts" in path.parts]
    return {
        "files a trial": len(sizes) / trials,
        "of them MLflow's copies": len(artifacts) / trials,
        "KiB a trial in the sweep's folder": sum(sizes.values()) / trials / 1024,
        "KiB a trial in MLflow's database": database.stat().st_size / trials / 1024,
        "Tune's files at once, at most": tune_files,
    }


def _killed(settings: Settings, storage: Path) -> Numbers:
    study, name = small(settings.real), f"{settings.real} small real trials, a kill every {settings.every:g} s:"
    killer = Killer(settings.every)
    began, failed, launches = time.perf_counter(), 0, 0
    with every(0.5, killer.perhaps):
        while launches < LAUNCHES:
            report = sweep(study, _options(storage), Watch())
            launches += 1
            failed += len(report.errors)
            if not report.errors:
                break
    wall = time.perf_counter() - began
    rows = report.store.rows()
    return {
        f"{name} finished": len(rows),
        f"{name} kills": killer.kills,
        f"{name} trials given up by a launch": failed,
        f"{name} launches": launches,
        f"{name} whole (s)": wall,
        f"{name} share of the slots' time in trials' last tries (%)": 100
        * sum(row["seconds"] for row in rows)
        / (SLOTS * wall),
        f"{name} checkpoints left behind": len(list(files(report.store.folder / "scratch"))),
    }


@dataclass
class Killer:
    """Kills one of this process's Tune workers now and then."""

    seconds: float
    """Between two kills, in the mean."""
    kills: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def perhaps(self) -> None:
        """Called twice a second: kill a random worker with the probability that gives the mean."""
        if self.draw.random() < 0.5 / self.seconds and (found := workers(os.getpid())):
            os.kill(self.draw.choice(found), signal.SIGKILL)
            self.kills += 1


def workers(ancestor: int) -> list[int]:
    """Processes of Ray that run a Tune trial somewhere below a process."""
    parents, trials = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(status[1])
            if re.match(rb"ray::\w*Trainable", (folder / "cmdline").read_bytes()):
                trials.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return sorted(process for process in trials if ancestor in _above(process, parents))


def _above(process: int, parents: dict[int, int]) -> Iterator[int]:
    while process := parents.get(process, 0):
        yield process


def resident(process: int) -> int:
    """Bytes of memory that a process has in use."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is there while it is looked at."""
    for parent, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(parent, name)).exists())


@contextmanager
def every(seconds: float, what: Callable[[], None]) -> Iterator[None]:
    """Do something again and again while something else is done."""
    stop = Event()

    def again() -> None:
        while not stop.wait(seconds):
            what()

    thread = Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _options(storage: Path) -> SweepOptions:
    return SweepOptions(name="scale", storage=storage, machine=Machine(device="cpu"))
