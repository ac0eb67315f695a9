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
