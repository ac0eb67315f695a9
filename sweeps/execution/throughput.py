"""Throughput of trials: fitted to finished trials, or measured on a few steps."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from basin.constructions import constructions
from basin.environment import Place
from basin.measure import Evaluation
from basin.spec import describe_fields
from basin.trial import Trial, open_task
from sweeps.execution.precision import train_endlessly
from sweeps.storage.store import Row, Store

Kind = tuple[tuple[str, Any], ...]
"""Fields and values that determine what a pass and the measurements of a trial cost."""
Samples = defaultdict[tuple[Kind, str], list[tuple[float, float, str]]]
"""Of each kind on each device: passes, seconds and sweep of each finished trial."""
PACE = ("batch_size", "optimizer", "precision")
"""Training fields that determine the duration of a pass."""


@dataclass(frozen=True)
class Throughput:
    """Speed of one kind of trial on one device."""

    device: str
    passes: float
    """Passes a second of one trial with its resources."""
    overhead: float
    """Seconds per trial spent on measurements instead of training."""
    source: str

    def seconds(self, passes: float, trials: float = 0) -> float:
        """Time for this many passes, and for the measurements of this many trials."""
        return passes / self.passes + trials * self.overhead


def trial_kind(trial: Trial) -> Kind:
    """Dataset, split, model, evaluation and step settings of a trial."""
    sections = (trial.dataset, trial.split, trial.model, trial.evaluation)
    names = {*PACE, "dataset", "model"}
    for section in sections:
        names |= {field.name for field in describe_fields(type(section))}
    flat = trial.flat()
    return tuple(sorted((name, flat[name]) for name in names))


def kind_of_row(row: Row, kinds: Iterable[Kind]) -> Kind | None:
    """Return the kind of a finished trial; None if it is none of these."""
    return next((kind for kind in kinds if all(row.get(name) == value for name, value in kind)), None)


def measured_throughput(storage: Path, kinds: set[Kind]) -> dict[Kind, list[Throughput]]:
    """Throughput of each kind on every device it ran on, from all sweeps in the storage.

    A kind without a finished trial takes that of trials trained in the same way and evaluated in another; its source
    says so, for they measure more or less.
    """
    exact: Samples = defaultdict(list)
    same_training: Samples = defaultdict(list)
    parts = {_training_part(kind) for kind in kinds}
    for folder in sorted(file.parent for file in storage.glob("*/sweep.json")):
        for row in Store(folder).rows():
            part = kind_of_row(row, parts)
            if row["status"] == "done" and part:
                sample = _trained_passes(row), row["seconds"], folder.name
                same_training[part, row["device_name"]].append(sample)
                if kind := kind_of_row(row, kinds):
                    exact[kind, row["device_name"]].append(sample)
    rates, others = _fit_kinds(exact), _fit_kinds(same_training)
    for kind in kinds - rates.keys():
        for rate in others.get(_training_part(kind), ()):
            source = f"{rate.source} with other evaluation settings, so the time for measurements will differ"
            rates.setdefault(kind, []).append(replace(rate, source=source))
    return rates


def _training_part(kind: Kind) -> Kind:
    """Return the kind without the settings of its evaluation."""
    evaluation = {field.name for field in describe_fields(Evaluation)}
    return tuple((name, value) for name, value in kind if name not in evaluation)


def _fit_kinds(points: Samples) -> dict[Kind, list[Throughput]]:
    """Fit each kind on each device; devices with most trials first."""
    rates: dict[Kind, list[Throughput]] = {}
    for (kind, device), samples in sorted(points.items(), key=lambda item: -len(item[1])):
        rate = _fit_throughput(device, samples)
        if rate:
            rates.setdefault(kind, []).append(rate)
    return rates


def _trained_passes(row: Row) -> float:
    """Passes that the trial of a row trained itself, without its stages."""
    if not row["passes"]:
        return 0.0
    cls, fixed = constructions.entry(row["construction"])
    known = [field.name for field in describe_fields(cls) if field.name not in fixed and field.name in row]
    construction = constructions.make(row["construction"], **{name: row[name] for name in known})
    epoch = round(row["passes"] / row["member_epochs"])
    return float(construction.spends(row["epochs"] * epoch).trained)


def _fit_throughput(device: str, points: list[tuple[float, float, str]]) -> Throughput | None:
    """Fit seconds = passes / rate + overhead by non-negative least squares; None if no trial trained anything."""
    passes, seconds = (np.array([point[index] for point in points], dtype=float) for index in (0, 1))
    if not passes.any():
        return None
    (per_pass, overhead), _ = nnls(np.stack([passes, np.ones_like(passes)], axis=1), seconds)
    if not per_pass:  # the measurements hide the time for training
        return None
    names = ", ".join(sorted({name for *_, name in points}))
    return Throughput(device, 1 / float(per_pass), float(overhead), f"fitted to {len(points)} trials of {names}")


def measure_steps(trial: Trial, place: Place, seconds: float = 3.0) -> Throughput:
    """Measure the throughput of plain training steps on this machine for a few seconds."""
    place.prepare()
    with TemporaryDirectory() as folder:
        task = open_task(trial, replace(place, runs=Path(folder), scratch=None))
    members = trial.construction.members
    started, before, elapsed = 0.0, 0, 0.0
    for state in train_endlessly(task, trial.training, members):
        now = time.perf_counter()
        if state.step == 2:  # the first steps choose an execution mode and warm it up
            started, before = now, task.meter.passes
        elapsed = now - started
        if state.step >= 5 and elapsed > seconds:
            break
    facts: Mapping[str, Any] = place.describe()
    source = f"probe of {state.step - 2} steps of {members} networks; measuring an ensemble comes on top"
    return Throughput(str(facts["device_name"]), (task.meter.passes - before) / elapsed, 0.0, source)
