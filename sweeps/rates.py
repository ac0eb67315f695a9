"""How fast trials are: fitted to the rows of finished trials, or measured on a few steps; never assumed."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from basin.constructions import constructions
from basin.place import Place
from basin.spec import describe
from basin.training import Training, train
from basin.trial import Trial, open_task
from sweeps.store import Row, Store

Kind = tuple[tuple[str, Any], ...]
"""What a pass and the measuring of a trial cost the same for: fields and their values."""
PACE = ("batch_size", "optimizer", "precision")
"""Fields of the training that say how long a pass takes."""


@dataclass(frozen=True)
class Rate:
    """What trials of one kind take on one device."""

    device: str
    passes: float
    """A second, of one trial with its resources."""
    beside: float
    """Seconds of a trial that are not training: its measurements."""
    source: str

    def seconds(self, passes: float, trials: float = 0) -> float:
        """What so many passes take, and the measurements of so many trials."""
        return passes / self.passes + trials * self.beside


def kind(trial: Trial) -> Kind:
    """Dataset, split, model and evaluation of a trial, and how it takes its steps."""
    sections = (trial.dataset, trial.split, trial.model, trial.evaluation)
    names = {field.name for section in sections for field in describe(type(section))} | set(PACE)
    flat = trial.flat()
    return tuple(sorted((name, flat[name]) for name in {*names, "dataset", "model"}))


def measured(storage: Path, kinds: set[Kind]) -> dict[Kind, list[Rate]]:
    """For each kind the rates of the devices on which such trials ran, from every sweep in the storage."""
    points: dict[tuple[Kind, str], list[tuple[float, float, str]]] = defaultdict(list)
    for folder in sorted(file.parent for file in storage.glob("*/sweep.json")):
        for row in Store(folder).rows():
            found = [one for one in kinds if all(row.get(name) == value for name, value in one)]
            if row["status"] == "done" and found:
                points[found[0], row["device_name"]].append((_own(row), row["seconds"], folder.name))
    rates: dict[Kind, list[Rate]] = defaultdict(list)
    for (one, device), some in sorted(points.items(), key=lambda item: -len(item[1])):
        rate = _fitted(device, some)
        if rate:
            rates[one].append(rate)
    return rates


def _own(row: Row) -> float:
    """The passes that the trial of a row trained itself, its single runs left out."""
    if not row["passes"]:
        return 0.0
    cls, fixed = constructions.entry(row["construction"])
    known = [field.name for field in describe(cls) if field.name not in fixed and field.name in row]
    construction = constructions.make(row["construction"], **{name: row[name] for name in known})
    epoch = round(row["passes"] / row["member_epochs"])
    return float(construction.spends(row["epochs"] * epoch).own)


def _fitted(device: str, points: list[tuple[float, float, str]]) -> Rate | None:
    """seconds = passes / rate + beside, both at least 0, least squares; None if no trial trained anything."""
    own, seconds = (np.array([point[index] for point in points], dtype=float) for index in (0, 1))
    if not own.any():
        return None
    (each, beside), _ = nnls(np.stack([own, np.ones_like(own)], axis=1), seconds)
    if not each:  # the trials' measurements hide what training took
        return None
    names = ", ".join(sorted({name for *_, name in points}))
    return Rate(device, 1 / float(each), float(beside), f"fitted to {len(points)} trials of {names}")


def probe(trial: Trial, place: Place, seconds: float = 3.0) -> Rate:
    """The rate of the plain training steps of an ensemble of this kind, measured here for a few seconds."""
    place.prepare()
    with TemporaryDirectory() as folder:
        task = open_task(trial, replace(place, runs=Path(folder), scratch=None))
    members = trial.construction.members
    endless = Training(**{**vars(trial.training), "epochs": 10**6})
    began, before, taken = 0.0, 0, 0.0
    for state in train(
        task.network,
        task.data,
        task.fresh(members),
        training=endless,
        seed=0,
        members=range(members),
        until=10**6,
        meter=task.meter,
        stops=range(10**6),
    ):
        now = time.perf_counter()
        if state.step == 2:  # the first steps choose an engine and warm it up
            began, before = now, task.meter.passes
        taken = now - began
        if state.step >= 5 and taken > seconds:
            break
    facts: Mapping[str, Any] = place.describe()
    source = f"probe of {state.step - 2} steps of {members} networks; measuring an ensemble comes on top"
    return Rate(str(facts["device_name"]), (task.meter.passes - before) / taken, 0.0, source)
