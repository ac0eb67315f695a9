"""A results folder written by version 0.1 is read, reported and continued without training anything again.

It was written at commit 083c884 by a tiny sweep of the quickstart with CHANGES, on digits.
"""

import json
import tarfile
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.shell import Command
from tests.support.tiny_sweep import snapshot, sweep_arguments

CHANGES: dict[str, str | None] = {"model": "mlp", "hidden": "8", "width": None}
"""Beside those of a tiny sweep; a setting that the study changes later has to be named here at its old value."""
TRIALS = 9


@pytest.fixture
def storage(root: Path, tmp_path: Path) -> Path:
    with tarfile.open(root / "tests" / "fixtures" / "results-of-0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "results"


@pytest.mark.filterwarnings("ignore")
def test_it_is_continued_with_no_trial_run_again(storage: Path, image_cache: Path, shell: Command) -> None:
    store = Store(storage / "quickstart")
    before = {key: store.row(key) for key in sorted(store.keys())}
    assert len(before) == TRIALS
    stages = snapshot(storage / "runs")
    assert f"0 trials run now, {TRIALS} in" in shell(*sweep_arguments(storage, image_cache, **CHANGES))
    assert {key: store.row(key) for key in sorted(store.keys())} == before
    assert snapshot(storage / "runs") == stages


@pytest.mark.filterwarnings("ignore")
def test_it_is_read_and_reported(storage: Path, shell: Command) -> None:
    assert json.loads(shell("best", "quickstart", "--format", "json", "--storage", str(storage)))["chosen"]
    shell("report", "quickstart", "--storage", str(storage))
    page = (storage / "quickstart" / "report.html").read_text(encoding="utf-8")
    assert "constrained" in page
    assert "distilled" in page
