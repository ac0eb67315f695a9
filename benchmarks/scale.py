"""Growth with the number of trials: launcher memory, files, time per trial; and the cost of random kills."""

import os
import random
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Annotated

import pyarrow as pa

from basin.environment import Machine, Place
from basin.spec import Bounds, Checked
from benchmarks.filling import BEGAN
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce, tell_numbers
from benchmarks.report import Report
from benchmarks.sweep_overhead import SLOTS, Ran, Watch, no_op, small_trials
from sweeps.execution.early_stopping import MIDPOINTS, RankStopping
from sweeps.execution.options import Options as SweepOptions
from sweeps.execution.worker import Worker
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Store
from sweeps.storage.table_file import encode_table
from sweeps.study.objectives import early_score
from sweeps.sweep import sweep

MEBIBYTE = 2**20
LAUNCHES = 5
"""Relaunches of a sweep whose trials failed."""
REPORTS = 10
"""Reports of a trial whose replay is measured."""
Numbers = dict[str, float]
Columns = dict[str, Sequence[object]]


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Number of trials."""

    trials: Annotated[int, Bounds(20)] = 1000
    """No-op trials."""
    real: Annotated[int, Bounds(0)] = 200
    """Small real trials, whose workers are killed at random; 0 leaves them out."""
    every: Annotated[float, Bounds(1)] = 15.0
    """Mean seconds between two kills."""
    sampler: str = "random"
    """Sampler of the no-op trials."""
    scheduler: str = ""
    """Early stopping, asha or moasha: only its replay of so many stored trials is measured, and no trial runs."""


@dataclass
class Meter:
    """Samples a sweep's resource use every second in a thread."""

    watch: Watch
    folder: Path
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Finished trials, and MiB resident in the launcher."""
    worked: list[tuple[int, float]] = field(default_factory=list)
    """Finished trials, and processor seconds that the launcher has spent: they do not depend on what else runs."""
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
    if settings.scheduler:
        with TemporaryDirectory() as folder:
            return Report("scale", describe_machine(options.device), (), _replay_numbers(settings, Path(folder)))
    with TemporaryDirectory() as folder:
        numbers = _growth_numbers(settings, Path(folder))
        tell_numbers(numbers)
    if settings.real:
        with TemporaryDirectory() as folder:
            numbers |= _killed_process(settings, Path(folder))
    return Report("scale", describe_machine(options.device), (), numbers)


def _growth_numbers(settings: Settings, storage: Path) -> Numbers:
    count, study = settings.trials, no_op(settings.trials, settings.sampler)
    watch = Watch()
    meter = Meter(watch, storage / "scale")
    with every(1.0, meter.look):
        report = sweep(study, _sweep_options(storage), watch)
        watch.done = time.perf_counter()
    ran = Ran(watch, [row["seconds"] for row in report.store.rows()], SLOTS)
    tenth = count // 10
    name = f"{count} no-op trials, {settings.sampler}:"
    numbers: Numbers = {}
    for start in range(0, count - tenth + 1, tenth):
        numbers[f"{name} from {start} on, another trial (s)"] = ran.another(start, start + tenth - 1)
        numbers[f"{name} from {start} on, launcher's memory (MiB)"] = meter.at(meter.memory, start + 1)
        spent = meter.at(meter.worked, start + tenth) - meter.at(meter.worked, start + 1)
        numbers[f"{name} from {start} on, launcher's processor time per trial (s)"] = spent / (tenth - 1)
    numbers[f"{name} launcher's memory at the end (MiB)"] = meter.memory[-1][1]
    numbers[f"{name} bringing MLflow in line, a trial (s)"] = ran.tracking
    numbers[f"{name} whole sweep (s)"] = ran.wall
    return numbers | {
        f"{name} {what}": value for what, value in _leftover_files(report.store, count, meter.tune_files).items()
    }


def _leftover_files(store: Store, trials: int, tune_files: int) -> Numbers:
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


def _killed_process(settings: Settings, storage: Path) -> Numbers:
    study, name = small_trials(settings.real), f"{settings.real} small real trials, a kill every {settings.every:g} s:"
    killer = Killer(settings.every)
    began, failed, launches = time.perf_counter(), 0, 0
    with every(0.5, killer.perhaps):
        while launches < LAUNCHES:
            report = sweep(study, _sweep_options(storage), Watch())
            launches += 1
            announce(f"launch {launches}: {len(report.store.keys())} trials finished, {killer.kills} kills so far")
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


def _replay_numbers(settings: Settings, storage: Path) -> Numbers:
    """What early stopping costs a launch that continues a sweep: reading all reports, and ranking them again."""
    metrics = ("accuracy", "q_bar") if settings.scheduler == "moasha" else ()
    study = no_op(settings.trials).with_aim(metrics=metrics, scheduler=settings.scheduler)
    store = Store(storage / "replay")
    _fill_history(store, settings.trials, [early_score(name) for name in study.objectives])
    store.rows()  # a launcher has read them before
    search = ResumableSearch(study, store, (), trials=0, seed=0)
    began, spent = time.perf_counter(), time.process_time()
    RankStopping(Worker(study, store, Place(machine=Machine(device="cpu"), runs=storage / "runs")), search)
    numbers = {"(s)": time.perf_counter() - began, "processor time (s)": time.process_time() - spent}
    name = f"{settings.scheduler}, replay of {settings.trials} trials of {REPORTS} reports,"
    return {f"{name} {what}": value for what, value in numbers.items()}


def _fill_history(store: Store, count: int, scores: Sequence[str]) -> None:
    """Write reports of made-up trials with these scores; a third of them are beyond the margin."""
    draw, schemas = random.Random(0), {table: SCHEMAS[table]() for table in ("history", "trials")}
    for table in schemas:
        store.table_path(table, "").parent.mkdir(parents=True)
    reports = [
        {"step": step, "passes": step, "seconds": 1.0, "progress": step / REPORTS}
        | {name: draw.random() for name in schemas["history"].names if name.startswith("val_")}
        for step in range(1, REPORTS + 1)
    ]
    row = {"role": "search", "status": "done"}
    same = {
        "history": pa.Table.from_pylist(reports, schemas["history"]),
        "trials": pa.Table.from_pylist([row], schemas["trials"]),
    }
    for number in range(count):
        key = f"{number:016x}"
        history: Columns = {name: [draw.random() for _ in reports] for name in scores}
        history |= {"key": [key] * REPORTS, MIDPOINTS: [draw.uniform(-1, 3.5) for _ in reports]}
        trial: Columns = {"key": [key], "finished_at": [BEGAN + timedelta(minutes=number)]}
        for table, changed in (("history", history), ("trials", trial)):
            content = encode_table(_with_columns(same[table], changed))
            store.table_path(table, key).write_bytes(content)


def _with_columns(table: pa.Table, changed: Columns) -> pa.Table:
    """Return a table with other values in some columns: making all of its hundreds again would take minutes."""
    for name, values in changed.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    return table


@dataclass
class Killer:
    """Kills one of this process's Tune workers now and then."""

    seconds: float
    """Between two kills, in the mean."""
    kills: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def perhaps(self) -> None:
        """Called twice a second: kill a random worker with the probability that gives the mean."""
        if self.draw.random() < 0.5 / self.seconds and (processes := workers(os.getpid())):
            os.kill(self.draw.choice(processes), signal.SIGKILL)
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
    return sorted(process for process in trials if ancestor in _parent_processes(process, parents))


def _parent_processes(process: int, parents: dict[int, int]) -> Iterator[int]:
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


def _sweep_options(storage: Path) -> SweepOptions:
    return SweepOptions(name="scale", storage=storage, machine=Machine(device="cpu"))
