"""The sweep that every disturbed one must equal, and a tracking server."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sweeps"))

from disturbed import arguments, works_on
from tiny_sweep import launch, works

from sweeps.store import Store


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    """3 references, 3 searched configurations, 2 replicates; do not change."""
    storage = tmp_path_factory.mktemp("undisturbed")
    works(launch(*arguments(storage, image_cache)))
    return works_on(storage)
