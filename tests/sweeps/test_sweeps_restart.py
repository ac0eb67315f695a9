"""The same again: bit for bit, after a kill, beside another sweep, and where everything diverges."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import ROOT, environment, launch, mlflow_runs, results, says, snapshot, sweep_arguments, works

from basin.errors import UsageError
from sweeps.best import ask
from sweeps.reading import open_reader
from sweeps.store import Store
from sweeps.tracking import Tracker, default_uri

Files = dict[str, tuple[int, int]]
Resumed = tuple[Store, Files, str]


def killed_at(rows: int, *arguments: str, storage: Path) -> Files:
    """Start a sweep, kill -9 the launcher once so many trials are finished; the rows that there are then."""
    store = Store(storage / "quickstart")
    command = [sys.executable, "launch.py", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 200
        while len(store.keys()) < rows:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no trial finishes"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Ray's workers notice soon; what they may still finish until then is whole, and is not run again.
        files = snapshot(store.folder / "tables" / "trials")
        return {name: file for name, file in files.items() if not name.startswith(".")}  # one may be half-written


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Resumed:
    """A sweep in a storage of its own, killed half way and run again; what there was between, what was said after."""
    storage = tmp_path_factory.mktemp("resumed")
    arguments = sweep_arguments(storage, image_cache)
    between = killed_at(2, *arguments, storage=storage)
    said = works(launch(*arguments))
    return Store(storage / "quickstart"), between, said


@pytest.mark.slow
def test_a_killed_sweep_ends_like_an_undisturbed_one(finished: Store, resumed: Resumed) -> None:
    """Two storages, one seed: every table is the same, bit for bit, whatever happened on the way."""
    store, between, said = resumed
    ran, there = int(said.split()[2]), len(store.keys())
    assert said.startswith(f"sweep quickstart: {ran} trials run now, {there} in ")
    assert 2 <= len(between) <= there - ran
    assert ran > 0
    after = snapshot(store.folder / "tables" / "trials")
    assert {name: after[name] for name in between} == between  # not run again
    undisturbed, again = results(finished.folder), results(store.folder)
    assert undisturbed.keys() == again.keys()
    for name, table in undisturbed.items():
        assert table.num_rows > 0
        assert table.equals(again[name], check_metadata=True), name
    weights = {path.name: path.read_bytes() for path in (finished.folder / "weights").iterdir()}
    assert weights
    assert {path.name: path.read_bytes() for path in (store.folder / "weights").iterdir()} == weights


@pytest.mark.slow
def test_a_killed_sweep_has_every_trial_once(resumed: Resumed, tmp_path: Path) -> None:
    store, _, _ = resumed
    runs = mlflow_runs(store.folder.parent, "quickstart", tmp_path)
    assert sorted(run["tags"]["key"] for run in runs) == store.keys()
    assert {run["status"] for run in runs} == {"FINISHED"}
    keys = results(store.folder)["trials"]["key"].to_pylist()
    assert len(set(keys)) == len(keys)
    assert not list((store.folder / "scratch").glob("*"))
    assert not (store.folder / "tune").exists()


@pytest.mark.slow
def test_two_sweeps_share_their_single_runs(finished: Store, resumed: Resumed, image_cache: Path) -> None:
    storage = resumed[0].folder.parent
    runs, first = snapshot(storage / "runs"), snapshot(resumed[0].folder / "tables")
    assert runs
    arguments = sweep_arguments(storage, image_cache, "--name", "second", "--trials", "1", construction="constrained")
    works(launch(*arguments))
    assert snapshot(storage / "runs") == runs  # neither trained again nor written again
    assert snapshot(resumed[0].folder / "tables") == first
    second = Store(storage / "second")
    assert len(second.keys()) == 3 + 1 + 2
    shared = {row["key"]: row for row in second.rows() if row["role"] == "reference"}
    assert len(shared) == 3
    for key, row in shared.items():
        there = finished.row(key)
        assert there is not None
        same: dict[str, Any] = {n: v for n, v in row.items() if n.startswith(("val_", "test_", "passes", "teacher_"))}
        assert {name: there[name] for name in same} == same


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_in_which_everything_diverges_says_so(tmp_path: Path, image_cache: Path) -> None:
    arguments = sweep_arguments(tmp_path, image_cache, lr="1e30", momentum="0", model="mlp", hidden="8", width=None)
    line = says(launch(*arguments), "no trial finished", "not finite in all 6", "lower lr")
    store = Store(tmp_path / "quickstart")
    assert {row["status"] for row in store.rows()} == {"diverged"}
    tracker = Tracker.existing(default_uri(tmp_path), "quickstart")
    assert sorted(run.data.tags["key"] for run in tracker.runs()) == store.keys()
    assert {(run.info.status, run.data.params["lr"]) for run in tracker.runs()} == {("FAILED", "1e+30")}
    with pytest.raises(UsageError, match="no finished trial"):
        ask(open_reader(default_uri(tmp_path), "quickstart"), x="q_bar_reset", y="accuracy")
    before = snapshot(store.folder / "tables")
    assert says(launch(*arguments)) == line
    assert snapshot(store.folder / "tables") == before
