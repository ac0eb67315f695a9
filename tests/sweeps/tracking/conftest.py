"""Copies of a finished sweep, and an empty tracking store."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from sweeps.tracking.connection import connect_client
from tests.support.tracked import TRIALS


@pytest.fixture
def copied(finished: Store, tmp_path: Path) -> Callable[[str], Store]:
    """Makes folders with a few trials of the finished sweep, under its name."""

    def make(person: str) -> Store:
        store = Store(tmp_path / person / finished.name)
        shutil.copytree(finished.folder / "tables", store.folder / "tables")
        shutil.copy(finished.folder / "sweep.json", store.folder)
        for key in store.keys()[TRIALS:]:
            for path in store.trial_tables(key):
                path.unlink()
        return store

    return make


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a row: making them takes seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    connect_client(f"sqlite:///{file}")
    return file


@pytest.fixture
def uri(empty: Path, tmp_path: Path) -> str:
    """A tracking store that several folders share."""
    return f"sqlite:///{shutil.copy(empty, tmp_path / 'team.db')}"
