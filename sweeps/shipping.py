"""MLflow beside the trials: a thread that brings it in line with the tables, and waits where it does not answer.

What is still to be sent is what the tables have and MLflow has not: nothing is lost with the process.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread

from basin.errors import UsageError
from sweeps.database import Known, OutageError, shown
from sweeps.options import Listener
from sweeps.store import Row, Store
from sweeps.tracking import Tracker, failed, is_remote

FIRST, LONGEST = 1.0, 15.0
"""Seconds between two tries while MLflow does not answer: doubled from the first to the longest."""
PATIENCE = 60.0
"""Seconds without an answer after which a sweep whose trials are done no longer waits for MLflow."""


class Shipper:
    """Sends finished trials to MLflow; never stops the sweep, and never holds it up before its end."""

    def __init__(self, uri: str, store: Store) -> None:
        self.trouble: UsageError | None = None
        """Why MLflow cannot be written at the moment, or a trial not at all."""
        self._uri, self._store = uri, store
        self._finished: SimpleQueue[str | None] = SimpleQueue()
        self._tried, self._closing, self._given_up = Event(), Event(), Event()
        self._answered = time.monotonic()
        self._thread = Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin, if that has not been done."""
        if self._thread.ident is None:
            self._thread.start()

    def opened(self, patience: float = 20) -> None:
        """Wait for the first answer; raises UsageError if the store is none or refuses, OutageError if it is away."""
        self.start()
        self._tried.wait(patience if is_remote(self._uri) else None)
        if self.trouble:
            raise self.trouble

    def add(self, key: str) -> None:
        """A trial has finished."""
        self._finished.put(key)

    def finish(self, patience: float = PATIENCE) -> UsageError | None:
        """Send the rest; None when MLflow has all, otherwise why it has not."""
        self.start()
        self._answered = time.monotonic()
        self._closing.set()
        self._finished.put(None)
        while self._thread.is_alive():
            self._thread.join(0.05)
            if is_remote(self._uri) and time.monotonic() - self._answered > patience:
                self._given_up.set()
                silence = f"--tracking-uri {shown(self._uri)}: no answer within {patience:g} s"
                return self.trouble or OutageError(silence)
        return self.trouble

    def _work(self) -> None:
        pause = FIRST
        while not self._given_up.is_set():
            try:
                return self._follow()
            except OutageError as error:
                self.trouble = error
                self._tried.set()
                # Asked often again when only MLflow is waited for; looked up anew, for a lost request may have arrived.
                (self._given_up if self._closing.is_set() else self._closing).wait(pause)
                pause = FIRST if self._closing.is_set() else min(2 * pause, LONGEST)

    def _follow(self) -> None:
        """Send what there is, then each trial as it finishes, until the sweep is done; raises OutageError."""
        try:
            tracker = Tracker.open(self._uri, self._store)
            there = set(self._store.keys())
            self._send(tracker, tracker.behind(self._store))
            self.trouble = None
            self._tried.set()
            while key := self._next():
                if key not in there:
                    self._send(tracker, {key: []})
            self.trouble = None
            self._send(tracker, tracker.behind(self._store))
        except Exception as error:
            self.trouble = failed(self._uri, error)
            self._tried.set()
            if isinstance(self.trouble, OutageError):
                raise self.trouble from None

    def _next(self) -> str | None:
        """The next trial to finish; None when the sweep is done, which may have been heard before an outage."""
        return None if self._closing.is_set() and self._finished.empty() else self._finished.get()

    def _send(self, tracker: Tracker, keys: Mapping[str, list[Known]]) -> None:
        """Send trials; one that MLflow refuses does not keep it from having the others."""
        for key, known in keys.items():
            try:
                tracker.settle(self._store, key, known)
            except Exception as error:
                trouble = failed(self._uri, error)
                if isinstance(trouble, OutageError):
                    raise
                self.trouble = trouble
            self._answered = time.monotonic()
            if self._given_up.is_set():
                return


@dataclass(frozen=True)
class Told:
    """A listener that passes on what it hears, and finished trials to MLflow."""

    listener: Listener
    shipper: Shipper

    def phase(self, name: str, total: int) -> None:
        """A phase begins."""
        self.listener.phase(name, total)

    def advance(self, result: Row | None = None) -> None:
        """One part is done."""
        if result and "key" in result:
            self.shipper.add(result["key"])
        self.listener.advance(result)

    def note(self, words: str) -> None:
        """Something to be known at once."""
        self.listener.note(words)
