"""Measure the machine with small matrices where benchmarks are tested."""

import pytest

from benchmarks import machine


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply small matrices: the large ones of a measurement take half a minute on a busy machine."""
    monkeypatch.setitem(machine.SIZES, "cpu", (64,))
