"""Early stopping by rank: ASHA for one objective (Li 2020), and for two its non-dominated-rank form.

As Syne Tune's MO-ASHA (Schmucker 2021): at each rung a trial goes on if it is in the best 1/eta of all that have
reached the rung so far, by non-dominated sorting, within a front by crowding distance (Deb 2002).
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler

from basin.journal import Progress
from sweeps.aims import early
from sweeps.stopping import halting
from sweeps.store import Row, so_far, tables_of_stopped
from sweeps.trainable import Worker

ETA = 3
"""One in so many goes on at each rung."""
RUNGS = (1 / 9, 1 / 3)
"""Shares of a trial's passes at which it is compared."""

Point = tuple[float, ...]
"""One value an objective, more is better."""


@dataclass
class Rungs:
    """What trials had reached at each rung."""

    reached: dict[float, dict[str, Point]] = field(default_factory=lambda: {rung: {} for rung in RUNGS})

    def goes_on(self, key: str, progress: float, point: Point) -> bool:
        """Note a report at the highest rung that it has come to; whether the trial may go on.

        A trial is compared once at each rung, with those that were there before; the first always goes on.
        """
        for rung in sorted(self.reached, reverse=True):
            if progress >= rung:
                there = self.reached[rung]
                if key in there:
                    return True
                there[key] = point
                return ranked(there).index(key) < max(1.0, len(there) / ETA)
        return True


def ranked(points: Mapping[str, Point]) -> list[str]:
    """Keys from the best to the worst; equals in the order in which they came."""
    order: list[str] = []
    left = dict(points)
    while left:
        front = [key for key, point in left.items() if not any(dominates(other, point) for other in left.values())]
        distances = crowding([left[key] for key in front])
        order += [key for _, key in sorted(zip(distances, front, strict=True), key=lambda item: -item[0])]
        left = {key: point for key, point in left.items() if key not in front}
    return order


def dominates(a: Point, b: Point) -> bool:
    """Whether a is at least as good everywhere, and better somewhere."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def crowding(front: Sequence[Point]) -> list[float]:
    """For each point the sum over objectives of its neighbours' distance, in units of the front's range; ∞ at ends."""
    distances = [0.0] * len(front)
    for axis in range(len(front[0])):
        order = sorted(range(len(front)), key=lambda index: front[index][axis])
        low, high = front[order[0]][axis], front[order[-1]][axis]
        distances[order[0]] = distances[order[-1]] = math.inf
        if math.isfinite(high - low) and high > low:
            for before, index, after in zip(order, order[1:], order[2:], strict=False):
                distances[index] += (front[after][axis] - front[before][axis]) / (high - low)
    return distances


class RankStopping(FIFOScheduler):
    """Stops searched trials early, and writes the row that says so before anybody is told.

    Its rungs are filled from the sweep's history first: what an earlier launch had seen counts in this one.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._worker = worker
        self._rungs = Rungs()
        self._reports: dict[str, dict[int, Row]] = {}
        for row in sorted(worker.store.rows(), key=lambda row: row["finished_at"]):
            if row["role"] == "search" and row["status"] in ("done", "stopped"):
                self._remember(row)

    def _remember(self, row: Row) -> None:
        for report in self._worker.store.history(row["key"]):
            if report.get("progress") is not None:
                self._rungs.goes_on(row["key"], report["progress"], self._point(report))

    def _point(self, report: Mapping[str, Any]) -> Point:
        """The objectives of a growing ensemble; one that is missing or not finite is worse than any."""
        study = self._worker.study
        values = [report.get(early(name)) for name in study.objectives]
        return tuple(
            sign * value if value is not None and math.isfinite(value) else -math.inf
            for value, sign in zip(values, study.signs, strict=True)
        )

    def on_trial_result(self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Whether a trial goes on after a report."""
        if trial.config["role"] != "search" or "status" in result:
            return str(self.CONTINUE)
        key = result["key"]
        columns = ("step", "passes", "seconds", "progress")
        scores = {name: value for name, value in result.items() if name.startswith("val_") or name in columns}
        self._reports.setdefault(key, {})[result["step"]] = scores
        if self._rungs.goes_on(key, result["progress"], self._point(result)):
            return str(self.CONTINUE)
        with halting():
            self._stop(trial.config)
        return str(self.STOP)

    def _stop(self, config: dict[str, Any]) -> None:
        worker, trial = self._worker, self._worker.study.trial(config["changes"])
        remote = worker.place.remote
        remote.fetch(worker.store.scratch(trial.key) / "journal.json", anew=True)
        reports = _before(worker.store.scratch(trial.key)) | self._reports.pop(trial.key)
        facts = {"sweep": worker.store.name, "role": config["role"], **worker.facts}
        worker.store.write(trial.key, tables_of_stopped(trial, [reports[step] for step in sorted(reports)], **facts))
        remote.send(*worker.store.files(trial.key))
        shutil.rmtree(worker.store.scratch(trial.key), ignore_errors=True)
        remote.remove(worker.store.scratch(trial.key))


def _before(scratch: Path) -> dict[int, Row]:
    """What a trial that went on after it was cut off had reported to earlier launches."""
    journal = scratch / "journal.json"
    written = json.loads(journal.read_text())["rows"] if journal.exists() else []
    rows = [Progress(**row) for row in written]
    return {row.index: so_far(row) | row.scores for row in rows}
