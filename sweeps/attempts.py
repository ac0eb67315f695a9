"""How often a trial was begun without getting on: a process may die many times, but not for ever at the same place."""

import faulthandler
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from basin import interrupt, runs
from basin.errors import UsageError
from basin.files import Nowhere, Remote, write_atomically

TRIES = 5
"""Begun so often at the same place, a trial has failed: until the next launch, which tries again."""


@dataclass(frozen=True)
class Attempts:
    """The tries of one trial, kept beside its checkpoint; a process that dies cannot count them afterwards."""

    scratch: Path
    remote: Remote = field(default_factory=Nowhere)

    @property
    def _file(self) -> Path:
        return self.scratch / "attempts.json"

    def begin(self) -> None:
        """Count a try; raises UsageError if there have been too many since the trial last got on."""
        self.remote.fetch(self._file, anew=True)
        place, before = self._place(), self._read()
        count = 1 + (before["count"] if before.get("place") == place else 0)
        if count > TRIES:
            self._file.unlink()
            self.remote.remove(self._file)
            words = before["error"] or "its process died or hung (no memory?): see Ray's log of the worker"
            raise UsageError(f"trial {self.scratch.name} was tried {TRIES} times and did not get on: {words}")
        self._write(place, count, before.get("error", ""))

    def failed(self, error: Exception) -> None:
        """Note why a try ended."""
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        with suppress(OSError, UsageError):
            self._write(self._place(), self._read().get("count", 1), f"{type(error).__name__}: {words}")

    def _place(self) -> str:
        """How far the trial has come: it changes with each checkpoint and each entry of the journal."""
        return repr((runs.notes(self.scratch / "state.safetensors").get("meter"), self._recorded()))

    def _recorded(self) -> int:
        """Ensembles that the journal knows of; not what it says of time, which passes where nothing gets on."""
        try:
            return len(json.loads((self.scratch / "journal.json").read_text())["passes"])
        except (OSError, ValueError, LookupError, TypeError):
            return 0

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    def _write(self, place: str, count: int, error: str) -> None:
        contents = {"place": place, "count": count, "error": error}
        write_atomically(self._file, json.dumps(contents))
        self.remote.send(self._file)


@contextmanager
def deadline(seconds: float | None, scratch: Path) -> Iterator[None]:
    """End this process if it shows no sign of life for so long; where it was is written to `hung.txt`.

    A thread of C does it, for a loop that hangs may hold Python's lock.
    """
    if seconds is None:
        yield
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "hung.txt").open("w") as file:

        def wind() -> None:
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)

        wind()
        interrupt.listen(wind)
        try:
            yield
        finally:
            interrupt.listen(None)
            faulthandler.cancel_dump_traceback_later()
