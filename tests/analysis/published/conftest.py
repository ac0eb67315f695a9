"""A small sweep, and the same sweep published."""

from pathlib import Path

import pytest

from analysis.published.files import publish
from tests.support.published_sweep import STUDY, write_sweep


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write into it."""
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "headline", {"constrained": 3})


@pytest.fixture(scope="session")
def published(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of published sweeps, with one; do not write into it."""
    folder = tmp_path_factory.mktemp("published")
    study = folder / "given.toml"
    study.write_text(STUDY)
    publish(sweep, folder / "headline", study)
    study.unlink()
    return folder
