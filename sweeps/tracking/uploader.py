"""Background thread that uploads finished trials to MLflow, shows running ones, and retries during outages.

It uploads what the tables have and MLflow lacks, so nothing is lost with the process.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from basin.errors import UsageError
from sweeps.events import Listener
from sweeps.storage.address import show_address
from sweeps.storage.store import Row, Store
from sweeps.tracking.connection import tracking_error
from sweeps.tracking.live_runs import LiveRuns
from sweeps.tracking.sql import LoggedRun
from sweeps.tracking.sweep_run import end_sweep_run
from sweeps.tracking.system_metrics import start_monitor
from sweeps.tracking.tracker import Tracker, find_open, find_unsettled
from sweeps.tracking.uri import OutageError, is_remote

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

FIRST, LONGEST = 1.0, 15.0
"""Seconds between retries during an outage: doubled from the first to the longest."""
TICK = 0.2
"""Seconds without a finished trial after which the next running one is shown."""
PATIENCE = 60.0
"""Seconds without a response after which a finished sweep stops waiting for MLflow."""
PARTING = 5.0
"""Seconds that a launcher that was stopped waits for MLflow; a scheduler kills it soon."""


class Uploader:
    """Uploads finished trials to MLflow without stopping or delaying the sweep before its end."""

    def __init__(self, uri: str, store: Store, *, adopt: bool = False, system_metrics: bool = False) -> None:
        self.trouble: UsageError | None = None
        """Reason why MLflow, or a trial, cannot be written; None if nothing is wrong."""
        self.live = LiveRuns(store)
        """Trials that run."""
        self._uri, self._store, self._adopt = uri, store, adopt
        self._finished: SimpleQueue[str | None] = SimpleQueue()
        self._tried, self._closing, self._given_up, self._stopping = Event(), Event(), Event(), Event()
        self._active = self._shown = False
        self._system_metrics = system_metrics
        self._monitor: SystemMetricsMonitor | None = None
        self._answered = time.monotonic()
        self._thread = Thread(target=self._upload_until_done, daemon=True)

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self._thread.ident is None:
            self._thread.start()

    def wait_until_open(self, patience: float = 20) -> None:
        """Wait for the first response; raises UsageError for an invalid store, OutageError for one that is down."""
        self.start()
        self._tried.wait(patience if is_remote(self._uri) else None)
        if self.trouble:
            raise self.trouble

    def begin_trial(self, facts: Row) -> None:
        """Show a trial that begins, and that the sweep runs."""
        self._active = True
        self.live.begin(facts)

    def add_trial(self, key: str) -> None:
        """Queue a finished trial."""
        self._active = True
        self.live.finish(key)
        self._finished.put(key)

    def finish(self, patience: float = PATIENCE) -> UsageError | None:
        """Upload the rest; return None if MLflow has all trials, else the reason."""
        self.start()
        self._answered = time.monotonic()
        self._closing.set()
        self._finished.put(None)
        while self._thread.is_alive():
            self._thread.join(0.05)
            if is_remote(self._uri) and time.monotonic() - self._answered > patience:
                self._given_up.set()
                silence = f"--tracking-uri {show_address(self._uri)}: no answer within {patience:g} s"
                return self.trouble or OutageError(silence)
        return self.trouble

    def stop(self, patience: float = PARTING) -> None:
        """End the runs of the sweep and of its unfinished trials as KILLED: the launcher stops before its end.

        Waits at most `patience` seconds. The next launch reopens them.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _upload_until_done(self) -> None:
        pause = FIRST
        while not (self._given_up.is_set() or self._stopping.is_set()):
            try:
                return self._upload_trials()
            except OutageError as error:
                self.trouble = error
                self._tried.set()
                # At the end of a sweep retries are quick. Runs are looked up again: a lost request may have arrived.
                (self._given_up if self._closing.is_set() else self._closing).wait(pause)
                pause = FIRST if self._closing.is_set() else min(2 * pause, LONGEST)

    def _upload_trials(self) -> None:
        """Upload what exists, then each trial as it finishes, until the sweep is done; raises OutageError."""
        try:
            tracker = Tracker.open_experiment(self._uri, self._store, adopt=self._adopt)
            tracker.retire_set_aside(self._store)
            uploaded = set(self._store.keys())
            self._settle_trials(tracker, tracker.unsettled_runs(self._store))
            tracker.update_tags(self._store)
            self.trouble = None
            self._tried.set()
            while key := self._next_trial(tracker):
                if key not in uploaded:
                    self._settle_trials(tracker, {key: tracker.runs_of(key)})
            if self._stopping.is_set():
                self._end_as_killed(tracker)
                return
            self.trouble = None
            self.live.end_failed(tracker)
            logged = tracker.logged_runs()
            self._settle_trials(tracker, find_unsettled(self._store, logged))
            tracker.end_open_runs(find_open(self._store, logged), "KILLED")
            tracker.update_tags(self._store)
            if self._monitor:
                self._monitor.finish()
            end_sweep_run(tracker, self._store)
        except Exception as error:
            self.trouble = tracking_error(self._uri, error)
            self._tried.set()
            if isinstance(self.trouble, OutageError):
                raise self.trouble from None

    def _begin_sweep(self, tracker: Tracker) -> None:
        """Show the sweep as running, and log the machine's load if that is asked for."""
        tracker.client.update_run(tracker.parent, status="RUNNING")
        self._shown = True
        if self._system_metrics and self._monitor is None:
            self._monitor = start_monitor(tracker)

    def _end_as_killed(self, tracker: Tracker) -> None:
        """End what this launch shows as running."""
        if self._monitor:
            self._monitor.finish()
        if self._shown:
            tracker.end_open_runs(find_open(self._store, tracker.logged_runs()), "KILLED")
            tracker.client.set_terminated(tracker.parent, "KILLED")

    def _next_trial(self, tracker: Tracker) -> str | None:
        """Wait for the next finished trial, and show running ones meanwhile; None when the sweep is done."""
        while not (self._stopping.is_set() or (self._closing.is_set() and self._finished.empty())):
            if self._active and not self._shown:
                self._begin_sweep(tracker)
            try:
                return self._finished.get(timeout=TICK)
            except Empty:
                self._show_progress(tracker)
        return None

    def _show_progress(self, tracker: Tracker) -> None:
        """Show one running trial; progress that MLflow refuses is dropped."""
        try:
            self.live.upload_next(tracker)
        except Exception as error:
            trouble = tracking_error(self._uri, error)
            if isinstance(trouble, OutageError):
                raise trouble from error

    def _settle_trials(self, tracker: Tracker, keys: Mapping[str, list[LoggedRun]]) -> None:
        """Upload trials; one that MLflow refuses does not stop the others."""
        for key, runs in keys.items():
            try:
                tracker.settle_runs(self._store, key, runs)
            except Exception as error:
                trouble = tracking_error(self._uri, error)
                if isinstance(trouble, OutageError):
                    raise
                self.trouble = trouble
            self._answered = time.monotonic()
            if self._given_up.is_set():
                return


@dataclass(frozen=True)
class UploadingListener:
    """Forwards events to another listener, and those of trials to the uploader."""

    listener: Listener
    uploader: Uploader

    def phase(self, name: str, total: int, later: int = 0) -> None:
        """Forward the begin of a phase."""
        self.listener.phase(name, total, later)

    def begin(self, trial: Row) -> None:
        """Forward the begin of a trial."""
        self.uploader.begin_trial(trial)
        self.listener.begin(trial)

    def report(self, result: Row) -> None:
        """Forward the report of a running trial."""
        self.uploader.live.report(result)
        self.listener.report(result)

    def advance(self, result: Row | None = None) -> None:
        """Forward a completed part, and upload its trial."""
        if result and result.get("status") == "failed":
            self.uploader.live.fail(result["key"])
        elif result and "key" in result:
            self.uploader.add_trial(result["key"])
        self.listener.advance(result)

    def fail(self, key: str, error: str) -> None:
        """Forward a failed trial."""
        self.uploader.live.fail(key)
        self.listener.fail(key, error)

    def note(self, words: str) -> None:
        """Forward a message."""
        self.listener.note(words)
