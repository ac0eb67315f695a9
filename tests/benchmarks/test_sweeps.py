"""What the benchmarks of sweeps stand on: a made-up sweep is like a real one, and overhead is counted right."""

from pathlib import Path

import pytest
import torch

from basin.environment import Machine, Place
from basin.trial import run
from benchmarks import query
from benchmarks.filling import fill_sweep
from benchmarks.options import Options
from benchmarks.sweep_overhead import Ran, Watch, no_op
from sweeps.storage.store import Store
from sweeps.tracking.reader import open_reader
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri
from tests.support.own_process import in_own_process

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill_sweep(tmp_path_factory.mktemp("filled"), query.NAME, 30)


def test_a_made_up_run_is_what_the_tracker_would_log(filled: Store, tmp_path: Path) -> None:
    """A trial whose MLflow run was copied, logged for real into another store."""
    mine = {run.key: run for run in open_reader(default_uri(filled.folder.parent), query.NAME).finished_runs()}
    assert sorted(mine) == filled.keys()
    row = next(row for row in reversed(filled.rows()) if not filled.table("history", row["key"]).num_rows)
    key = row["key"]
    other = Store(tmp_path / "other")
    other.write_tables(key, {"trials": [row]})
    Tracker.open_experiment(default_uri(tmp_path), other).log_missing(other)
    (real,) = open_reader(default_uri(tmp_path), "other").finished_runs()
    copied = mine[key]
    assert (copied.role, copied.construction) == (real.role, real.construction)
    assert {**real.metrics, **copied.metrics} == copied.metrics  # a growing ensemble's scores may be there beside
    assert copied.params == real.params
    assert {"t", "beta", "seed", "epochs"} <= real.params.keys()


def test_nothing_is_left_to_log_of_a_made_up_sweep(filled: Store) -> None:
    assert Tracker.open_experiment(default_uri(filled.folder.parent), filled).log_missing(filled) == 0


@pytest.mark.slow
def test_query_reads_a_sweep_in_every_way(tmp_path: Path) -> None:
    report = query.run(Options(repeats=1, changes={"trials": "20", "folder": str(tmp_path)}))
    assert [len(table.lines) for table in report.tables] == [3, 4, 3]
    for table in report.tables:
        assert all(line.median > 0 for line in table.lines)


def test_a_no_op_trial_is_a_trial(tmp_path: Path, image_cache: Path) -> None:
    in_own_process(check_no_op_trial, tmp_path, image_cache)


def check_no_op_trial(folder: Path, image_cache: Path) -> None:
    """In a process of its own: elsewhere the program has no such construction."""
    machine = Machine(device="cpu", threads=torch.get_num_threads())
    trial = no_op(1).resolve_trial({"construction": "noop", "number": 0.5, "seed": 3})
    outcome = run(trial, Place(machine=machine, cache=image_cache, runs=folder))
    assert outcome.meter.passes == 0
    assert {"val_accuracy", "val_q_bar_reset", "test_accuracy"} <= outcome.measured.scores.keys()
    assert trial.key != no_op(1).resolve_trial({"construction": "noop", "number": 0.25, "seed": 3}).key


def test_overhead_is_the_slots_time_without_the_trials_own() -> None:
    watch = Watch(
        began=0.0, phases={"search": 4.0, "tracking": 16.0}, ends=[5.0, 6.0, 8.0, 10.0, 12.0, 14.0], done=19.0
    )
    ran = Ran(watch, own=[1.0] * 6, slots=2)
    assert ran.launch == 4.0
    assert ran.another() == 2 * (14 - 6) / 4 - 1
    assert ran.another(2, 4) == 2 * (12 - 8) / 2 - 1
    assert ran.tracking == 0.5
    assert ran.share == 1 - 6 / (2 * 19)
