"""Early stopping by rank: ASHA for one objective (Li 2020), MO-ASHA for two (Schmucker 2021).

At each rung a trial continues if it is in the best 1/eta of the trials that have reached the rung so far. They are
ranked by non-dominated sorting, within a front by crowding distance (Deb 2002). Trials in one basin at their midpoints
come first; the others follow by their distance beyond the margin (constrained domination).
"""

import json
import math
import shutil
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial

from basin.journal import Progress
from stats.growing_fronts import GrowingFronts, Scores
from sweeps.execution.recovering import RecoveringScheduler
from sweeps.execution.signals import halting
from sweeps.execution.worker import Worker
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.store import Row, progress_columns, tables_of_stopped
from sweeps.study.job import Job
from sweeps.study.objectives import capped_merit, early_score
from sweeps.study.study import Study

ETA = 3
"""One in ETA trials continues at each rung."""
RUNGS = (1 / 9, 1 / 3)
"""Shares of a trial's passes at which it is compared."""
MIDPOINTS = "val_basin_mid_upper_reset"
"""Upper confidence bound of the accuracy lost at midpoints, which stand for whole paths during training."""


@dataclass
class Rung:
    """Results of the trials that have reached a share of their passes, in their order from the best to the worst."""

    keys: set[str] = field(default_factory=set)
    inside: GrowingFronts = field(default_factory=GrowingFronts)
    """Objectives of the trials within the margin of one basin."""
    outside: list[tuple[float, str]] = field(default_factory=list)
    """Distance beyond the margin, and key, of the others; ascending."""

    def add(self, key: str, point: Scores, beyond: float) -> int:
        """Add a trial; return how many others precede it."""
        self.keys.add(key)
        if beyond <= 0:
            return self.inside.add(point)
        insort(self.outside, (beyond, key))
        return len(self.inside) + bisect_left(self.outside, (beyond, key))


@dataclass
class Rungs:
    """What trials reported at each rung."""

    reached: dict[float, Rung] = field(default_factory=lambda: {rung: Rung() for rung in RUNGS})

    def continues(self, key: str, progress: float, point: Scores, beyond: float = 0.0) -> bool:
        """Record a report at the highest rung it has reached; return whether the trial continues.

        A trial is compared once at each rung, with the trials that reached it before; the first always continues.
        `point` holds the objectives, more is better; `beyond` is the distance beyond the margin, 0 or less within it.
        """
        rung = self._find_rung(key, progress)
        return rung is None or rung.add(key, point, beyond) < max(1.0, len(rung.keys) / ETA)

    def compare(self, study: Study, key: str, report: Mapping[str, Any]) -> bool:
        """Record a report of a trial of this study; return whether the trial continues."""
        return self.continues(key, report["progress"], _early_merits(study, report), _early_excess(study, report))

    def is_new(self, key: str, progress: float) -> bool:
        """Tell whether a report is the first of its trial at a rung: only this one is compared."""
        return self._find_rung(key, progress) is not None

    def _find_rung(self, key: str, progress: float) -> Rung | None:
        """The rung at which a report is compared; None if there is none, or if the trial has been compared there."""
        rung = self.reached.get(max((share for share in self.reached if share <= progress), default=0.0))
        return None if rung is None or key in rung.keys else rung


def _early_merits(study: Study, report: Mapping[str, Any]) -> Scores:
    """Objectives of an ensemble in training, q_mid capped at 0; one missing or not finite is worse than any."""
    named = [(early_score(name), report.get(early_score(name))) for name in study.objectives]
    return tuple(
        sign * capped_merit(name, value) if value is not None and math.isfinite(value) else -math.inf
        for (name, value), sign in zip(named, study.signs, strict=True)
    )


def _early_excess(study: Study, report: Mapping[str, Any]) -> float:
    """Accuracy points by which midpoints exceed the margin: 0 for a single network, ∞ if they are not finite."""
    upper = report.get(MIDPOINTS)
    if upper is None:
        return 0.0
    return upper - study.margin if math.isfinite(upper) else math.inf


class RankStopping(RecoveringScheduler):
    """Stops searched trials early, and writes their rows before the searcher learns of it.

    Its rungs are first filled from the stored history, so that reports of earlier launches count.
    """

    def __init__(self, worker: Worker, search: ResumableSearch) -> None:
        super().__init__(search)
        self._worker = worker
        self._rungs = Rungs()
        self._reports: dict[str, dict[int, Row]] = {}
        known = worker.store.rows(("key", "role", "status", "finished_at"))
        for row in sorted(known, key=lambda row: row["finished_at"]):
            if row["role"] == "search" and row["status"] in ("done", "stopped"):
                self._restore_reports(row["key"])

    def _restore_reports(self, key: str) -> None:
        columns = ("progress", MIDPOINTS, *map(early_score, self._worker.study.objectives))
        for report in self._worker.store.history(key, columns):
            if report.get("progress") is not None and self._rungs.is_new(key, report["progress"]):
                self._rungs.compare(self._worker.study, key, report)

    def on_trial_result(self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Decide whether a trial continues after a report."""
        job: Job = trial.config["job"]
        if job.role != "search" or "status" in result:
            return str(self.CONTINUE)
        key = result["key"]
        columns = ("step", "passes", "seconds", "progress")
        scores = {name: value for name, value in result.items() if name.startswith("val_") or name in columns}
        self._reports.setdefault(key, {})[result["step"]] = scores
        if self._rungs.compare(self._worker.study, key, result):
            return str(self.CONTINUE)
        with halting():
            self._stop_trial(job)
        return str(self.STOP)

    def on_trial_complete(self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]) -> None:
        """Forget the reports of a finished trial."""
        self._reports.pop(trial.config["job"].key, None)

    def _stop_trial(self, job: Job) -> None:
        worker, trial = self._worker, job.trial
        remote = worker.place.remote
        remote.fetch(worker.store.scratch_path(trial.key) / "journal.json", anew=True)
        reports = _earlier_reports(worker.store.scratch_path(trial.key)) | self._reports.pop(trial.key)
        facts = {"sweep": worker.store.name, "role": job.role, "configuration": job.configuration, **worker.facts}
        worker.store.write_tables(
            trial.key, tables_of_stopped(trial, [reports[step] for step in sorted(reports)], **facts)
        )
        remote.send(*worker.store.trial_files(trial.key))
        shutil.rmtree(worker.store.scratch_path(trial.key), ignore_errors=True)
        remote.remove(worker.store.scratch_path(trial.key))


def _earlier_reports(scratch: Path) -> dict[int, Row]:
    """Reports of a resumed trial to earlier launches."""
    journal = scratch / "journal.json"
    written = json.loads(journal.read_text())["rows"] if journal.exists() else []
    rows = [Progress(**row) for row in written]
    return {row.index: progress_columns(row) | row.scores for row in rows}
