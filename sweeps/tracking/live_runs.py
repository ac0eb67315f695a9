"""Show trials in MLflow while they run: each has a pending run, which its results complete.

The launcher's loop only notes what it hears; the uploader's thread sends it. Finished trials come first. Of several
reports the last is sent, and what there is no time for is dropped: the tables have every report.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from sweeps.storage.store import Row, Store
from sweeps.study.objectives import early_score
from sweeps.tracking.run_record import IDENTITY_PARAMS, read_manifest, run_labels
from sweeps.tracking.sql import LIVE, PENDING

if TYPE_CHECKING:
    from sweeps.tracking.tracker import Tracker

FIRST = 1.0
"""Seconds after which a trial is shown; shorter ones are not."""
INTERVAL = 5.0
"""Seconds between two uploads of a trial, at least."""
SHARE = 0.1
"""Fraction of the thread's time that may go into running trials."""
PROGRESS = "progress"
"""Share of its training that a trial has done, 0 to 1; in every report."""
SCORES = (PROGRESS, "val_nll", "val_accuracy", "val_q_mid_reset", "val_basin_mid_upper_reset")
"""Columns of a report that are shown, beside the sweep's own objectives."""
TAGS = ("role", "configuration")
"""What a pending run says of its trial as a finished one does, beside the key and the name of the sweep."""


@dataclass
class LiveTrial:
    """A trial that runs."""

    facts: Row
    """What is known of it when it begins: key, role, configuration, and its settings."""
    began: int
    """Milliseconds since 1970."""
    due: float
    """Time on the clock of the uploads at which it may be sent again."""
    report: Row | None = None
    """Last report that was not sent."""
    heard: int = 0
    """Milliseconds since 1970 at which this report came."""
    run_id: str | None = None
    step: int = 0
    """Last step that was sent."""


class LiveRuns:
    """Trials that run, as the launcher hears of them and as MLflow shows them; safe to use from two threads."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock, self._lock = store, clock, Lock()
        self._trials: dict[str, LiveTrial] = {}
        self._failed: set[str] = set()
        self._rested = -float("inf")

    @property
    def is_empty(self) -> bool:
        """Tell whether no trial runs and every failed one was ended."""
        return not self._trials and not self._failed

    def begin(self, facts: Row) -> None:
        """Add a trial; one that begins again goes on."""
        with self._lock:
            self._failed.discard(facts["key"])
            fresh = LiveTrial(facts, _now(), self._clock() + FIRST)
            self._trials.setdefault(facts["key"], fresh)

    def report(self, result: Row) -> None:
        """Note the report of a trial in place of the one before."""
        with self._lock:
            trial = self._trials.get(result.get("key", ""))
            if trial and result.get("step", 0) > trial.step:
                trial.report, trial.heard = result, _now()

    def finish(self, key: str) -> None:
        """Forget a trial that has results."""
        with self._lock:
            self._trials.pop(key, None)

    def fail(self, key: str) -> None:
        """Forget a trial that ended without results; its run will end as FAILED."""
        with self._lock:
            self._trials.pop(key, None)
            self._failed.add(key)

    def upload_next(self, tracker: "Tracker") -> None:
        """End the runs of failed trials, or send what is due of one that runs, unless it is time to rest.

        An error ends the attempt; the next one looks the run up again, as a lost request may have arrived.
        """
        began = self._clock()
        if began < self._rested:
            return
        try:
            if self._failed:
                self.end_failed(tracker, most=1)
            elif trial := self._next_due(began):
                self._upload_trial(tracker, trial)
        finally:
            ended = self._clock()
            self._rested = ended + (ended - began) * (1 / SHARE - 1)

    def end_failed(self, tracker: "Tracker", most: int | None = None) -> None:
        """End the runs of failed trials as FAILED, or of so many of them."""
        with self._lock:
            keys = sorted(self._failed)[:most]
        for key in keys:
            tracker.end_open_runs([key], "FAILED")
            with self._lock:
                self._failed.discard(key)

    def _next_due(self, now: float) -> LiveTrial | None:
        """Return the trial that has waited longest for a run or with a report; None if none is due."""
        with self._lock:
            due = [trial for trial in self._trials.values() if trial.due <= now and (trial.report or not trial.run_id)]
        return min(due, key=lambda trial: trial.due, default=None)

    def _upload_trial(self, tracker: "Tracker", trial: LiveTrial) -> None:
        run_id, trial.run_id = trial.run_id, None
        trial.due = self._clock() + INTERVAL  # also if a request fails
        if run_id is None:
            run_id = self._open_run(tracker, trial)
        if run_id is None:
            trial.due = float("inf")
            return
        with self._lock:
            report, trial.report = trial.report, None
        if report is not None and report["step"] > trial.step:
            tracker.client.log_batch(run_id, metrics=self._points(report, trial.heard))
            trial.step = report["step"]
        else:
            trial.due = self._clock()  # its next report
        trial.run_id = run_id

    def _open_run(self, tracker: "Tracker", trial: LiveTrial) -> str | None:
        """Continue the pending run of a trial, or create one; None if another run shows earlier results of it."""
        from mlflow.entities import Param

        runs = tracker.runs_of(trial.facts["key"])
        if any(not run.is_pending for run in runs):
            return None
        if runs:
            run_id = runs[0].run_id
            if not runs[0].is_open:
                tracker.client.update_run(run_id, status="RUNNING")
            history = tracker.client.get_metric_history(run_id, f"{LIVE}{PROGRESS}")
            trial.step = max((point.step for point in history), default=0)
            return run_id
        tags = {"sweep": self._store.name, "content": PENDING, **{name: str(trial.facts[name]) for name in TAGS}}
        tags |= run_labels(self._store, trial.facts, read_manifest(self._store))
        run_id = tracker.create_run(trial.facts["key"], trial.began, tags)
        params = [Param(name, str(trial.facts[name])) for name in IDENTITY_PARAMS]
        tracker.client.log_batch(run_id, params=params)
        return run_id

    def _points(self, report: Row, stamp: int) -> list[Any]:
        from mlflow.entities import Metric

        objectives = read_manifest(self._store).get("objectives", [])
        names = dict.fromkeys([*SCORES, *map(early_score, objectives)])
        values = {name: report[name] for name in names if report.get(name) is not None}
        return [Metric(f"{LIVE}{name}", float(value), stamp, report["step"]) for name, value in values.items()]


def _now() -> int:
    return int(1000 * time.time())
