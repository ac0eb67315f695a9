"""A construction whose trials wait for each other: a sweep of them ends only if they all run at once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from basin.constructions import constructions
from basin.ensemble import Ensemble
from basin.task import Task
from benchmarks.noop import Noop
from benchmarks.sweep_overhead import no_op
from sweeps.study.space import Space
from sweeps.study.study import Study

PATIENCE = 240.0
"""Seconds after which a trial gives the others up."""


@constructions.register("meeting")
@dataclass(frozen=True, kw_only=True)
class Meeting(Noop):
    """Networks as they were initialised, once as many trials have come as are awaited."""

    place: str = "."
    """Folder in which each trial leaves its mark."""
    awaited: int = 1
    """Trials that have to come."""

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """One ensemble; raises TimeoutError if the others do not come."""
        Path(self.place, str(self.number)).touch()
        end = time.monotonic() + PATIENCE
        while len(list(Path(self.place).iterdir())) < self.awaited:
            if time.monotonic() > end:
                raise TimeoutError(f"not {self.awaited} trials within {PATIENCE:g} s")
            time.sleep(0.1)
        yield from super().grow(task)


def meeting_study(trials: int, place: Path) -> Study:
    """A study whose trials have to run at the same time."""
    study = no_op(trials)
    base = replace(study.base, construction=Meeting(place=str(place), awaited=trials))
    return replace(study, base=base, space=Space(("meeting",), ("number",)))
