"""Results folders shared by the tests of analysis."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis import report
from analysis.data.queries import Tables, read_tables
from tests.support import synthetic_results


@pytest.fixture(scope="session")
def full_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every construction, searched and with three seeds, with paths; do not write into it."""
    return synthetic_results.full(tmp_path_factory.mktemp("full") / "demo")


@pytest.fixture(scope="session")
def full_tables(full_results: Path) -> Tables:
    return read_tables(full_results)


@pytest.fixture(scope="session")
def grid_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grids of the other studies; do not write into it."""
    return synthetic_results.grids(tmp_path_factory.mktemp("grids") / "grids")


@pytest.fixture(scope="session")
def all_tables(full_results: Path, grid_results: Path) -> Tables:
    """Search, replicates and grids read together: what every figure and table needs."""
    return read_tables(full_results, more=[grid_results])


@pytest.fixture(scope="session")
def page_file(once: Callable[..., Path]) -> Path:
    """A report with every construction, the grids, and a plane; do not change."""
    return once("report", _write_page) / "demo" / "report.html"


def _write_page(folder: Path) -> None:
    results = synthetic_results.full(folder / "demo")
    grids = synthetic_results.grids(folder / "grids", seeds=1)
    plane = synthetic_results.plane("r-constrained-0", np.random.default_rng(0))
    synthetic_results.write_real(results, "planes", "r-constrained-0", plane)
    manifest = {"base": {"epochs": 30}, "defaults": {"distilled.temperature": 2.0, "distilled.weight": 0.9}}
    (results / "sweep.json").write_text(json.dumps(manifest))
    report.write_report(read_tables(results, more=[grids]), formats=["svg"])
