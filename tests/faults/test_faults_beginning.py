"""A trial that fails before its tries are counted: it is not begun for ever."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from tiny_sweep import study

from basin.place import Machine
from benchmarks.sweep_overhead import Watch
from sweeps import tuning
from sweeps.options import Options
from sweeps.store import Store
from sweeps.sweep import place_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Hopeless(Searcher):
    """Hands out a configuration that is no trial."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"changes": {"nonsense": 1}, "role": "search"}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn."""


def test_what_cannot_begin_is_given_up(tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "RESTARTS", 2)
    options = Options(name="sweep", storage=tmp_path, cache=image_cache, machine=Machine(device="cpu"))
    with tuning.Pool(study(), Store(tmp_path / "sweep"), place_of(options), options, Watch()) as pool:
        pool.fit(Hopeless(), 1)  # type: ignore[arg-type]
    (error,) = pool.errors
    assert "nonsense" in error
