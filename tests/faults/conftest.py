"""The sweep that every disturbed one must equal, and a tracking server."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sweeps"))

from disturbed import arguments, works_on
from tiny_sweep import launch, works

from sweeps.store import Store


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    """3 references, 3 searched configurations, 2 replicates, made by one of pytest's processes; do not change."""
    own = tmp_path_factory.getbasetemp()
    storage = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "undisturbed"
    with storage.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not storage.with_suffix(".made").exists():
            works(launch(*arguments(storage, image_cache)))
            storage.with_suffix(".made").touch()
    return works_on(storage)
