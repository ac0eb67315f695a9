"""The smallest study there is, and the command line in a process of its own."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from basin import stages
from sweeps.storage.columns import TIMING
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Row, Store
from sweeps.study.catalog import build
from sweeps.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "epochs": "2",
    "width": "0.25",
    "members": "2",
    "train_size": "100",
    "batch_size": "50",
    "val_size": "60",
    "test_size": "60",
    "alphas": "3",
    "progress_every": "1",
    "plane_points": "0",
}
"""Two epochs of two steps, two members; a score on validation after each epoch, and no plane."""
SEEDS = 2
"""Reported seeds: 1 and 2, for the search has seed 0."""


def study(**changes: object) -> Study:
    """The quickstart at this size, three configurations, each of which depends on its number alone.

    A field changed to None is left at the study's.
    """
    chosen = {name: value for name, value in {**SETTINGS, **changes}.items() if value is not None}
    return build("quickstart", None).with_settings(chosen).with_size(3, "random", SEEDS).compared_with(["deep"])


def sweep_arguments(storage: Path | str, cache: Path, *more: str, **changes: object) -> list[str]:
    """The command line of such a sweep; a field changed to None is left at the study's."""
    chosen = {name: value for name, value in {**SETTINGS, **changes}.items() if value is not None}
    pairs = [f"{name}={value}" for name, value in chosen.items()]
    settings = [part for pair in pairs for part in ("--set", pair)]
    where = ["--storage", str(storage), "--cache", str(cache)]
    size = ["--trials", "3", "--seeds", str(SEEDS), "--reference", "deep"]
    return ["sweep", "quickstart", *size, "--sampler", "random", *settings, *where, *more]


def environment() -> dict[str, str]:
    """Ours, without what pytest's caller may have put on Python's path or into its warnings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def python(*arguments: str, timeout: float = 500, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
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


def launch(*arguments: str, timeout: float = 500) -> "subprocess.CompletedProcess[str]":
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
    """The tables of a sweep, files in the order of their names."""
    found = {name: sorted((folder / "tables" / name).glob("*.parquet")) for name in SCHEMAS}
    return {
        name: pa.concat_tables(pyarrow.parquet.read_table(path) for path in paths)
        for name, paths in found.items()
        if paths
    }


def row_of(trial_study: Study, changes: Any, **columns: Any) -> Row:
    """A row that says that a trial is done."""
    trial = trial_study.resolve_trial(changes)
    scores = {"val_nll": 0.3, "val_accuracy": 90.0, "val_q_bar_reset": -1.0, "val_basin_upper_reset": 1.0}
    scores |= {"test_nll": 3.0, "test_accuracy": 12.0, "test_q_bar_reset": -33.0, "test_basin_upper_reset": 44.0}
    names = {
        "key": trial.key,
        "ensemble_key": trial.ensemble_key,
        "configuration": trial_study.configuration_hash(changes),
    }
    return {**names, **trial.flat(), "status": "done", "role": "search", **scores, **columns}


def put(store: Store, row: Row) -> None:
    """Write a trial's tables; only the row of `trials` says anything."""
    store.write_tables(row["key"], {"trials": [row], "members": [], "history": [], "paths": []})


READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient

client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
found = []
for run in client.search_runs([experiment.experiment_id], max_results=1000):
    if "superseded_by" in run.data.tags or "key" not in run.data.tags:
        continue
    history = {}
    for name in run.data.metrics:
        history[name] = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
    files, folders = [], [None]
    while folders:
        for file in client.list_artifacts(run.info.run_id, folders.pop()):
            (folders if file.is_dir else files).append(file.path)
    downloaded = client.download_artifacts(run.info.run_id, "tables") if files else None
    found.append({
        "name": run.info.run_name, "status": run.info.status, "start": run.info.start_time, "end": run.info.end_time,
        "params": run.data.params, "tags": run.data.tags, "metrics": run.data.metrics, "history": history,
        "files": sorted(files), "downloaded": downloaded,
    })
assert not {"sweeps", "basin", "launch"} & set(sys.modules)
print(json.dumps(found))
"""


def mlflow_runs(storage: Path, name: str, folder: Path) -> list[dict[str, Any]]:
    """Every live run of a trial as plain MLflow client code sees it, in a process without our packages."""
    program = folder / "read_mlflow.py"
    program.write_text(READ_MLFLOW)
    runs: list[dict[str, Any]] = json.loads(
        works(python("-W", "ignore", str(program), f"sqlite:///{storage / 'mlflow.db'}", name, cwd=folder))
    )
    return runs


PROVENANCE = ("commit", "dirty", "sources")
"""Columns that differ where somebody has edited the code between two sweeps."""


def untimed(path: Path) -> bytes:
    """A file of tensors as it would be if it did not say how long they took; as it is if it cannot be read."""
    found = stages.read_tensors(path)
    if found is None:
        return path.read_bytes()
    tensors, notes = found
    return stages.serialize_tensors(tensors, {name: text for name, text in notes.items() if name not in TIMING})


def same_tables(expected: Path, found: Path) -> None:
    """Two sweeps' tables are the same, bit for bit, but for what differs between two runs of the same trials."""
    one, other = results(expected), results(found)
    assert other.keys() == one.keys()
    for name, table in one.items():
        assert table.num_rows > 0
        assert table.equals(other[name], check_metadata=True), name


def results(folder: Path, *apart: str) -> dict[str, pa.Table]:
    """Whole tables of a sweep without the columns that differ between two runs of the same trials."""
    out = {}
    for name, table in tables(folder).items():
        out[name] = table.drop_columns([c for c in (*TIMING, *PROVENANCE, *apart) if c in table.column_names])
    return out
