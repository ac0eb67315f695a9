"""The smallest study there is, and the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from sweeps.schemas import SCHEMAS
from sweeps.store import Row, Store
from sweeps.studies import build
from sweeps.study import Study

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "epochs": "2",
    "width": "0.25",
    "members": "2",
    "train_size": "100",
    "val_size": "60",
    "test_size": "60",
    "alphas": "3",
    "progress_every": "1",
}
"""Two epochs of two steps, two members; a score on validation after each epoch."""


def study(**changes: object) -> Study:
    """The quickstart at this size, three configurations, each of which depends on its number alone."""
    return build("quickstart", None).set({**SETTINGS, **changes}).sized(3, "random")


def sweep_arguments(storage: Path, cache: Path, *more: str, **changes: object) -> list[str]:
    """The command line of such a sweep."""
    pairs = [f"{name}={value}" for name, value in {**SETTINGS, **changes}.items()]
    settings = [part for pair in pairs for part in ("--set", pair)]
    where = ["--storage", str(storage), "--cache", str(cache)]
    return ["sweep", "quickstart", "--trials", "3", "--sampler", "random", *settings, *where, *more]


def environment() -> dict[str, str]:
    """Ours, without what pytest's caller may have put on Python's path or into its warnings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def python(*arguments: str, timeout: float = 240, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """This interpreter with other arguments."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def launch(*arguments: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
    """`launch.py` with these arguments."""
    return python("launch.py", *arguments, timeout=timeout)


def works(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command printed, which has succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def says(done: "subprocess.CompletedProcess[str]", *words: str) -> str:
    """The one line of a command that the user must mend."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file under a folder with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tables(folder: Path) -> dict[str, pa.Table]:
    """Whole tables of a sweep, files in the order of their names."""
    return {
        name: pa.concat_tables(
            pyarrow.parquet.read_table(path) for path in sorted((folder / "tables" / name).glob("*.parquet"))
        )
        for name in SCHEMAS
    }


def row_of(trial_study: Study, changes: Any, **columns: Any) -> Row:
    """A row that says that a trial is done."""
    trial = trial_study.trial(changes)
    scores = {"val_accuracy": 90.0, "val_q_bar_reset": -1.0, "test_accuracy": 12.0, "test_q_bar_reset": -33.0}
    return {"key": trial.key, **trial.flat(), "status": "done", "role": "search", **scores, **columns}


def put(store: Store, row: Row) -> None:
    """Write a trial's tables; only the row of `trials` says anything."""
    store.write(row["key"], {"trials": [row], "members": [], "history": [], "paths": []})
