"""One finished tiny sweep that the reading tests share, and a cache of decoded images."""

from pathlib import Path

import pytest
from shell import Command, Shell
from tiny_sweep import launch, sweep_arguments, works

from sweeps.store import Store


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    """An undisturbed sweep: 3 references, 3 searched configurations and what they are compared with; do not change."""
    storage = tmp_path_factory.mktemp("finished")
    works(launch(*sweep_arguments(storage, image_cache)))
    return Store(storage / "quickstart")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command that succeeds."""
    return Shell(monkeypatch, capsys).works


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command that the user must mend."""
    return Shell(monkeypatch, capsys).refuses
