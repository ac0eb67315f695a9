"""Two sweeps in one storage, and one in which everything diverges."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from sweeps.queries.best import find_best
from sweeps.storage.store import Store
from sweeps.tracking.reader import open_reader
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, says, snapshot, sweep_arguments, works

pytestmark = pytest.mark.slow


def test_two_sweeps_share_their_stages(finished: Store, image_cache: Path, tmp_path: Path) -> None:
    storage = shutil.copytree(finished.folder.parent, tmp_path / "storage")
    tables = storage / finished.name / "tables"
    runs, first = snapshot(storage / "runs"), snapshot(tables)
    assert runs
    arguments = sweep_arguments(storage, image_cache, "--name", "second", "--trials", "1", construction="constrained")
    works(launch(*arguments))
    assert snapshot(storage / "runs") == runs  # neither trained again nor written again
    assert snapshot(tables) == first
    second = Store(storage / "second")
    assert len(second.keys()) == 2 + 1 + 2
    shared = {row["key"]: row for row in second.rows() if row["role"] == "reference"}
    assert len(shared) == 2
    for key, row in shared.items():
        there = finished.row(key)
        assert there is not None
        same: dict[str, Any] = {n: v for n, v in row.items() if n.startswith(("val_", "test_", "passes", "teacher_"))}
        assert {name: there[name] for name in same} == same


@pytest.mark.filterwarnings("ignore")
def test_a_sweep_in_which_everything_diverges_says_so(tmp_path: Path, image_cache: Path, refused: Command) -> None:
    arguments = sweep_arguments(tmp_path, image_cache, lr="1e30", momentum="0", model="mlp", hidden="8", width=None)
    line = says(launch(*arguments), "no trial finished", "all 5 trials", "not finite", "--set lr=")
    store = Store(tmp_path / "quickstart")
    assert {row["status"] for row in store.rows()} == {"diverged"}
    tracker = Tracker.find_experiment(default_uri(tmp_path), "quickstart")
    assert sorted(tracker.logged_runs()) == store.keys()
    runs = list(tracker.list_runs())
    assert {run.info.status for run in runs} == {"FAILED"}
    assert {run.data.params["lr"] for run in runs if "key" in run.data.tags} == {"1e+30"}
    with pytest.raises(UsageError, match="no finished trial"):
        find_best(open_reader(default_uri(tmp_path), "quickstart"), x="q_bar_reset", y="accuracy")
    before = snapshot(store.folder / "tables")
    assert refused(*arguments).strip() == line
    assert snapshot(store.folder / "tables") == before
