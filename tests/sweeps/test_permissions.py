"""Whatever a sweep and its report leave behind has the permissions that the umask leaves: a group's, or private."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shell import Command
from tests.support.tiny_sweep import launch, sweep_arguments, works

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(params=[0o002, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of this process, which all that it starts inherit."""
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def test_every_file_obeys_the_umask(mask: int, tmp_path: Path, shell: Command) -> None:
    storage, cache = tmp_path / "results", tmp_path / "cache"
    predictions = ("--set", "predictions=true", "--set", "construction=distilled")
    small = {"model": "mlp", "hidden": "8", "width": None}
    works(launch(*sweep_arguments(storage, cache, "--trials", "1", "--concurrency", "1", *predictions, **small)))
    shell("report", "quickstart", "--storage", str(storage))
    shell("sync", "quickstart", "--storage", str(storage))
    left = [path for folder in (storage, cache) for path in (folder, *folder.rglob("*"))]
    found = {str(path.relative_to(tmp_path)): oct(path.lstat().st_mode & 0o777) for path in left}
    expected = {str(path.relative_to(tmp_path)): oct((0o777 if path.is_dir() else 0o666) & ~mask) for path in left}
    assert {name: mode for name, mode in found.items() if mode != expected[name]} == {}
    written = {path.name for path in left} | {path.suffix for path in left}
    assert written >= {
        *("optuna.journal", "mlflow.db", "mlartifacts", "sweep.json", "status.json", "verdicts.json", "runs"),
        *("tracked.json", "checked.json", "report.html", "recipe.json", ".parquet", ".safetensors", ".npy"),
    }
