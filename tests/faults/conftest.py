"""The sweep that every disturbed one must equal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.disturbed import arguments, works_on
from tests.support.tiny_sweep import launch, works


@pytest.fixture(scope="session")
def undisturbed(once: Callable[..., Path], image_cache: Path) -> Store:
    """2 references, 3 searched configurations, the chosen one on 2 fresh seeds; made by one process; do not change."""
    return works_on(once("undisturbed", lambda folder: works(launch(*arguments(folder, image_cache)))))
