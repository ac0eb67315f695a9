"""Sweeps that are disturbed: started, hit, looked at; and what must be true of them afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Store
from sweeps.tracking.run_record import row_content
from sweeps.tracking.sql import Database
from sweeps.tracking.uri import default_uri
from tests.support.tiny_sweep import ROOT, environment, same_tables, sweep_arguments, untimed

PATIENT = 400.0
"""Seconds that anything here may take on a machine that does other things too."""
SHORTEST, LONGEST = 0.01, 0.5
"""Seconds between two looks: nine times what a look takes, for it slows down what is waited for."""
CHANGES = {
    "construction": "distilled",
    "model": "mlp",
    "hidden": "16",
    "width": None,
    "epochs": "6",
    "train_size": "400",
    "batch_size": "20",
}
"""120 steps in six epochs of two small networks, after two teachers: seven trials."""


def arguments(storage: Path | str, cache: Path, *more: str, **changes: object) -> list[str]:
    """The command line of the sweep that is disturbed: one trial after another, unless more are asked for."""
    return sweep_arguments(storage, cache, "--concurrency", "1", *more, **CHANGES | changes)


TWO = ("--concurrency", "2")
"""Trials at once."""


def works_on(storage: Path) -> Store:
    """Its store."""
    return Store(storage / "quickstart")


@contextmanager
def launched(*command: str, cwd: Path = ROOT, **more: str) -> Iterator["subprocess.Popen[str]"]:
    """`launch.py` with these arguments in the background, in a session of its own; gone afterwards.

    It hears SIGHUP, also if these tests were started by `nohup`.
    """
    process = subprocess.Popen(
        [sys.executable, "launch.py", *command],
        cwd=cwd,
        env=environment() | more,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def until(true: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> bool:
    """Wait for something; whether it came before the process ended."""
    deadline = time.monotonic() + PATIENT
    while True:
        began = time.monotonic()
        if true():
            return True
        if process is not None and process.poll() is not None:
            return bool(true())
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"this never happens{_last_words(process)}")
        time.sleep(min(LONGEST, max(SHORTEST, 9 * (now - began))))


def _last_words(process: "subprocess.Popen[str] | None") -> str:
    """What a process has printed, which is ended for it."""
    if process is None:
        return ""
    process.kill()
    return "; printed:\n" + "".join(process.communicate())


def descendants(pid: int) -> dict[int, str]:
    """Processes that a process started, and theirs: number and command line."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: dict[int, str] = {}
    level = [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        for child in level:
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def trial_processes(launcher: int) -> list[int]:
    """The processes in which a launcher's trials are."""
    return [pid for pid, line in descendants(launcher).items() if line.startswith("ray::") and "rainable" in line]


def hit(pid: int, number: signal.Signals) -> bool:
    """Send a signal; whether the process was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def moments(count: int, longest: float, seed: int) -> list[float]:
    """Random waits in seconds."""
    draw = random.Random(seed)
    return [draw.uniform(0, longest) for _ in range(count)]


def same_results(undisturbed: Store, store: Store) -> None:
    """Every table, every network and every stage is the same, bit for bit; times, host and commit may differ."""
    same_tables(undisturbed.folder, store.folder)
    for name, folder in (("*.safetensors", "weights"), ("*/member-*/step-*.safetensors", "../runs")):
        files = contents(undisturbed.folder / folder, name)
        assert files
        assert contents(store.folder / folder, name) == files
    assert verdicts(store) == verdicts(undisturbed)


def verdicts(store: Store) -> dict[str, Any]:
    """Over the seeds of each reported configuration, but for when its trials were finished."""
    held = json.loads((store.folder / "verdicts.json").read_text())
    assert held
    return {keys: {**entry, "finished": None} for keys, entry in held.items()}


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    """Files of tensors by their path within a folder, but for how long they took."""
    return {str(path.relative_to(folder)): untimed(path) for path in sorted(folder.glob(pattern))}


def one_run_each(store: Store, uri: str | None = None) -> None:
    """MLflow has exactly one run a trial, a whole one, and it is of the run of the trial that the tables have.

    A trial without results may have one too, which no longer runs.
    """
    database = Database(uri or default_uri(store.folder.parent))
    known = database.runs_by_key(database.list_experiments()[store.name])
    rows = {row["key"]: row for row in store.rows()}
    held = {key: runs for key, runs in known.items() if key in rows or any(not run.is_pending for run in runs)}
    assert not [run for runs in known.values() for run in runs if run.is_open]
    assert {key: [(run.is_complete, run.content) for run in runs] for key, runs in held.items()} == {
        key: [(True, row_content(row))] for key, row in rows.items()
    }


def nothing_left_over(store: Store) -> None:
    """No file but those that a sweep is made of."""
    storage, name = store.folder.parent, store.name
    keys = "|".join(store.keys())
    assert keys
    kept = [
        f"{name}/{file}"
        for file in (
            "sweep.json",
            "tracked.json",
            "verdicts.json",
            "optuna.journal",
            "reruns.json",
            "status.json",
            ".lock",
        )
    ]
    wanted = {*(f"tables/{table}" for table in SCHEMAS), "weights", "compact", "mlartifacts"}
    for path in storage.rglob("*"):
        where = str(path.relative_to(storage))
        if path.is_dir() or where in kept or where.startswith("mlflow.db"):
            continue
        if where.startswith("runs/"):
            assert path.name.startswith("step-") or path.name == "recipe.json", where
            continue
        inside = where.removeprefix(f"{name}/")
        assert any(inside.startswith(f"{folder}/") for folder in wanted), where
        assert not path.name.startswith("."), where
    assert not (store.folder / "scratch").exists() or not list((store.folder / "scratch").iterdir())
    assert not (store.folder / "tune").exists()


def as_undisturbed(undisturbed: Store, store: Store, uri: str | None = None) -> None:
    """All that a disturbed sweep promises."""
    same_results(undisturbed, store)
    one_run_each(store, uri)
    nothing_left_over(store)
