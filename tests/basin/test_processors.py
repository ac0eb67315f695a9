"""CPUs that this process may use, however the machine is divided."""

import os
from pathlib import Path

import pytest

from basin.processors import usable_cpus


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def test_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert usable_cpus(tmp_path, tmp_path / "own") == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert usable_cpus(tmp_path, tmp_path / "own") == 1


@pytest.mark.parametrize(
    ("limit", "expected"), [("400000 100000", 4), ("50000 100000", 1), ("max 100000", 16), ("?", 16)]
)
def test_a_limit_of_the_group_or_of_one_that_contains_it(limit: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/batch/job\n")
    (tmp_path / "batch/job").mkdir(parents=True)
    for folder in (tmp_path / "batch/job", tmp_path / "batch", tmp_path):
        (folder / "cpu.max").write_text(limit)
        assert usable_cpus(tmp_path, tmp_path / "own") == expected
        (folder / "cpu.max").unlink()


@pytest.mark.parametrize(("quota", "expected"), [(200_000, 2), (-1, 16)])
def test_version_1(quota: int, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path, tmp_path / "own") == expected
