"""The tracking database dies with the head; the tables, in a shared folder or an object store, bring every run back."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store
from sweeps.tracking.sql import LIVE
from tests.support.object_stores import serving
from tests.support.shell import Command
from tests.support.tiny_sweep import mlflow_runs, snapshot

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
MEANT = ("name", "status", "end", "params", "files")
"""What a run says, but for where MLflow keeps its files.

A run that was shown while its trial ran begins a moment earlier, and keeps what it showed then.
"""


def meanings(storage: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What each run of MLflow's store in a folder says, by the key of its trial."""
    runs = mlflow_runs(storage, "quickstart", folder)
    found = {run["tags"]["key"]: {name: run[name] for name in MEANT} | _final_scores(run) for run in runs}
    assert len(found) == len(runs)
    return found


def _final_scores(run: dict[str, Any]) -> dict[str, Any]:
    """Metrics and their history, without those of the running trial."""
    return {
        kind: {name: value for name, value in run[kind].items() if not name.startswith(LIVE)}
        for kind in ("metrics", "history")
    }


@pytest.fixture
def storage(finished: Store, tmp_path: Path) -> Path:
    """A copy of the storage: what a head that was removed leaves on the shared file system, and its database."""
    shutil.copytree(finished.folder.parent, tmp_path / "shared")
    return tmp_path / "shared"


def test_a_new_head_gets_every_run_back_from_the_shared_folder(
    storage: Path, finished: Store, tmp_path: Path, shell: Command
) -> None:
    before = meanings(finished.folder.parent, tmp_path)
    assert before.keys() == set(finished.keys())
    lose_tracking(storage)
    tables = snapshot(storage / "quickstart" / "tables")
    said = shell("sync", "quickstart", "--storage", str(storage))
    assert said.count(" was missing\n") == len(before)
    assert meanings(storage, tmp_path) == before
    assert "MLflow differed in 0" in shell("sync", "quickstart", "--storage", str(storage))
    assert snapshot(storage / "quickstart" / "tables") == tables


def test_a_new_head_gets_every_run_back_from_an_object_store(
    storage: Path, finished: Store, tmp_path: Path, shell: Command
) -> None:
    before = meanings(finished.folder.parent, tmp_path)
    lose_tracking(storage)
    with serving() as objects:
        uri = objects.uri("results")
        files = [path for path in storage.rglob("*") if path.is_file() and not path.name.startswith(".")]
        Mirror.from_uri(uri).with_folder(storage).send(*files)
        shell("fetch", "quickstart", "--storage", uri, "--to", str(tmp_path / "head"))
    assert meanings(tmp_path / "head", tmp_path) == before


def lose_tracking(storage: Path) -> None:
    """Remove MLflow's database and the copies of tables that were logged with its runs."""
    found = list(storage.glob("mlflow.db*"))
    assert found
    for path in found:
        path.unlink()
    shutil.rmtree(storage / "quickstart" / "mlartifacts")
