"""Listener: the events that a running sweep announces."""

from typing import Protocol

from sweeps.storage.store import Row


class Listener(Protocol):
    """Receives the progress of a sweep."""

    def phase(self, name: str, total: int, later: int = 0) -> None:
        """Begin a phase of `total` parts, after which `later` trials may follow."""

    def begin(self, trial: Row) -> None:
        """Begin a trial: its key, construction and epochs."""

    def report(self, result: Row) -> None:
        """Receive a report of a running trial."""

    def advance(self, result: Row | None = None) -> None:
        """Complete one part of the phase; `result` is the last report if the part is a trial."""

    def fail(self, key: str, error: str) -> None:
        """Complete a trial that failed."""

    def note(self, words: str) -> None:
        """Show a message that does not stop the sweep."""
