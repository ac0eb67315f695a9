"""Trials on digits that take a second."""

from pathlib import Path

from basin.constructions.deep import Deep
from basin.data import Split
from basin.data.digits import Digits
from basin.models.mlp import MLP
from basin.place import Machine, Place
from basin.task import Task
from basin.training import Training
from basin.trial import Trial, open_task, overlay


def trial(**changes: object) -> Trial:
    """Digits, 100 images, 3 epochs of 5 steps."""
    base = Trial(
        dataset=Digits(),
        split=Split(train_size=100, val_size=60, test_size=60),
        model=MLP(hidden=8),
        training=Training(epochs=3, batch_size=20),
        construction=Deep(members=3),
    )
    return overlay(base, {"alphas": 3} | changes)


def place(folder: Path, cache: Path) -> Place:
    """A CPU, single runs in `folder`."""
    return Place(machine=Machine(device="cpu"), cache=cache, runs=folder)


def task(folder: Path, cache: Path, **changes: object) -> Task:
    """What a construction of such a trial is given."""
    return open_task(trial(**changes), place(folder, cache))
