"""Trials of three members on digits that take a second."""

from pathlib import Path

from basin.task import Task
from basin.trial import Trial, open_task
from tests.support import tiny_trial
from tests.support.tiny_trial import place

__all__ = ["place", "task", "trial"]


def trial(**changes: object) -> Trial:
    """A tiny trial with three members, scored on validation as often as by default."""
    return tiny_trial.trial(**{"members": 3, "progress_every": 5} | changes)


def task(folder: Path, cache: Path, **changes: object) -> Task:
    """What a construction of such a trial is given."""
    return open_task(trial(**changes), place(folder, cache))
