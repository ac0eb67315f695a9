"""What every test shares: one thread, checked shapes, repeatable examples, optional real data."""

import os
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Shapes and types of basin are checked in every call. The hook sees only modules imported after it, so it stands
# before any import of basin.
install_import_hook("basin", "shape_checks.checked")

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

# Ray's workers are niced to 15: beside a test that computes they would hardly run, and what waits for them would fail.
os.environ.setdefault("RAY_worker_niceness", "0")

ROOT = Path(__file__).resolve().parents[1]


def pytest_sessionstart() -> None:
    """One thread: the sums, and so the tests, do not depend on the machine's cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project folder."""
    return ROOT


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of decoded images."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real image archives; the test is skipped where there is none."""
    folder = Path(os.environ.get("SINGLE_BASIN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set SINGLE_BASIN_TEST_DATA to a folder of image archives")
    return folder
