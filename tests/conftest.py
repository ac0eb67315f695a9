"""What every test shares: one thread, checked shapes, repeatable examples, optional real data."""

import importlib
import inspect
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

# Shapes and types of basin are checked in every call. The hook sees only modules imported after it, so it stands
# before any import of basin.
pytest.register_assert_rewrite("tests.support")
importlib.import_module("tests.support.shape_checks").install_shape_checks()

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Long tests first."""
    from tests.support.scheduling import make_scheduler

    return make_scheduler(config, log)


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


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type, str, Any], None]]:
    """Change the default of a field, as if its line in the code said so."""
    from basin import spec

    def edit(cls: type, field: str, value: Any) -> None:
        monkeypatch.setitem(inspect.unwrap(cls.__init__).__kwdefaults__, field, value)
        monkeypatch.setattr(cls.__dataclass_fields__[field], "default", value)
        monkeypatch.setattr(cls, field, value)
        spec._describe_cached.cache_clear()

    yield edit
    monkeypatch.undo()
    spec._describe_cached.cache_clear()


Once = Callable[[str, Callable[[Path], object]], Path]
"""Name and maker → the folder; made once a run, however many processes test."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder in the first process that asks for it; the others wait for it. Do not write into it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, maker: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(folder.with_suffix(".lock")):
            if not folder.with_suffix(".made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                maker(folder)
                folder.with_suffix(".made").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def finished(once: Once, image_cache: Path) -> Any:
    """The store of an undisturbed sweep: references, searched configurations, fresh seeds; do not change."""
    from sweeps.storage.store import Store
    from tests.support.tiny_sweep import launch, sweep_arguments, works

    storage = once("finished", lambda folder: works(launch(*sweep_arguments(folder, image_cache))))
    return Store(storage / "quickstart")


@pytest.fixture(scope="session")
def kept(once: Once, image_cache: Path) -> Any:
    """The store of a sweep of two trials that were run without Ray; do not change."""
    from sweeps.storage.store import Store
    from tests.support.kept_trials import make_sweep

    return Store(once("kept", lambda folder: make_sweep(folder, image_cache)) / "mine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; not one for all modules, for while Playwright runs nothing else can run an event loop."""
    from tests.support.browser import launched_browser

    with launched_browser() as started:
        yield started


@pytest.fixture(scope="session")
def logged(once: Once) -> Path:
    """A working folder with `results/quickstart`, in tables, MLflow and a report; do not change.

    It has a search with replicates, fresh seeds, references, a diverged trial, and a configuration no longer chosen.
    """
    from tests.support.logged_sweep import make_logged

    return once("logged", make_logged)


@pytest.fixture(scope="session")
def shell() -> Any:
    """A command that succeeds."""
    from tests.support.shell import works_here

    return works_here


@pytest.fixture(scope="session")
def refused() -> Any:
    """A command that the user must correct."""
    from tests.support.shell import refused_here

    return refused_here
