"""Results folders shared by the tests of analysis."""

from pathlib import Path

import pytest
import synthetic_results

from analysis.queries import Tables, read


@pytest.fixture(scope="session")
def full_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every construction, searched and with three seeds, with paths; do not write into it."""
    return synthetic_results.full(tmp_path_factory.mktemp("full") / "demo")


@pytest.fixture(scope="session")
def full_tables(full_results: Path) -> Tables:
    return read(full_results)


@pytest.fixture(scope="session")
def grid_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grids of the other studies; do not write into it."""
    return synthetic_results.grids(tmp_path_factory.mktemp("grids") / "grids")


@pytest.fixture(scope="session")
def all_tables(full_results: Path, grid_results: Path) -> Tables:
    """Search, replicates and grids read together: what every figure and table needs."""
    return read(full_results, more=[grid_results])
