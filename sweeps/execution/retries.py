"""Retry budget: give up on a trial that keeps dying at the same point."""

import faulthandler
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from basin import interrupt, stages
from basin.errors import UsageError
from basin.files import Nowhere, Remote, write_atomically

TRIES = 5
"""Attempts at the same point after which a trial fails; the next launch tries again."""


@dataclass(frozen=True)
class Attempts:
    """Attempts of one trial, counted in a file next to its checkpoint before each attempt."""

    scratch: Path
    remote: Remote = field(default_factory=Nowhere)

    @property
    def _file(self) -> Path:
        return self.scratch / "attempts.json"

    def begin_attempt(self) -> None:
        """Count an attempt; raises UsageError after too many without progress."""
        self.remote.fetch(self._file, anew=True)
        point, before = self._current_point(), self._read_file()
        count = 1 + (before["count"] if before.get("place") == point else 0)
        if count > TRIES:
            self._file.unlink()
            self.remote.remove(self._file)
            words = before["error"] or "worker died or hung (out of memory?); see its Ray worker log"
            raise UsageError(f"trial {self.scratch.name} failed {TRIES} times without making progress: {words}")
        self._write_file(point, count, before.get("error", ""))

    def record_error(self, error: Exception) -> None:
        """Record why an attempt ended."""
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        with suppress(OSError, UsageError):
            self._write_file(
                self._current_point(), self._read_file().get("count", 1), f"{type(error).__name__}: {words}"
            )

    def _current_point(self) -> str:
        """Progress of the trial: changes with each checkpoint and each entry of its journal."""
        return repr((stages.read_notes(self.scratch / "state.safetensors").get("meter"), self._count_reports()))

    def _count_reports(self) -> int:
        """Ensembles in the trial's journal; its times are ignored, as they change without progress."""
        try:
            return len(json.loads((self.scratch / "journal.json").read_text())["passes"])
        except (OSError, ValueError, LookupError, TypeError):
            return 0

    def _read_file(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    def _write_file(self, point: str, count: int, error: str) -> None:
        contents = {"place": point, "count": count, "error": error}
        write_atomically(self._file, json.dumps(contents, allow_nan=False))
        self.remote.send(self._file)


@contextmanager
def deadline(seconds: float | None, scratch: Path) -> Iterator[None]:
    """Kill this process if it makes no progress within `seconds`; its stack is written to `hung.txt`.

    A C thread does this, as a hanging loop may hold the GIL.
    """
    if seconds is None:
        yield
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "hung.txt").open("w") as file:

        def restart_timer() -> None:
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)

        restart_timer()
        interrupt.listen_for_heartbeat(restart_timer)
        try:
            yield
        finally:
            interrupt.listen_for_heartbeat(None)
            faulthandler.cancel_dump_traceback_later()
