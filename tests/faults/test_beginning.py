"""A trial that fails before its tries are counted: it is not begun for ever."""

import os
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from basin.environment import Machine
from benchmarks.sweep_overhead import Watch
from sweeps.execution import tuner as tuning
from sweeps.execution.options import Options
from sweeps.storage.store import Store
from sweeps.study.job import Job
from tests.support.tiny_sweep import study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Hopeless(Searcher):
    """Hands out one job."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"job": self._job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn."""


def test_what_cannot_begin_is_given_up(tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = os.getpid()

    class Broken(Job):  # local, so that workers get its code and need not import this file
        @property
        def key(self) -> str:
            if os.getpid() != launcher:
                raise RuntimeError("a worker cannot read it")
            return "broken"

    monkeypatch.setattr(tuning, "RESTARTS", 2)
    options = Options(name="sweep", storage=tmp_path, cache=image_cache, machine=Machine(device="cpu"))
    job = study().owed_jobs([1])[0]
    broken = Broken(job.role, job.changes, job.trial, job.configuration)
    with tuning.Pool(study(), Store(tmp_path / "sweep"), options.make_place(), options, Watch()) as pool:
        pool.fit(Hopeless(broken), 1)  # type: ignore[arg-type]
    (error,) = pool.errors
    assert "a worker cannot read it" in error
