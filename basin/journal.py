"""Progress log of a trial; survives interruption."""

import json
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from basin.ensemble import Ensemble
from basin.files import Nowhere, Remote, write_atomically
from basin.measure import Evaluation, validate_ensemble
from basin.strict_json import dump_json
from basin.task import Task


@dataclass(frozen=True)
class Progress:
    """Scores of a growing ensemble."""

    index: int
    """Number of the ensemble among those the construction yielded, from 1."""
    passes: int
    seconds: float
    scores: dict[str, float]
    """Validation metrics, `val_…`."""
    share: float = 0.0
    """Fraction of all passes of the trial."""


@dataclass
class Journal:
    """Progress of a growing ensemble, stored with its checkpoint so that both resume together."""

    path: Path | None
    began: float
    """Start of this launch on the clock of `time.perf_counter`."""
    earlier: float = 0.0
    """Seconds spent by interrupted launches, as of their last write."""
    passes: list[int] = field(default_factory=list)
    """Passes spent at each ensemble yielded so far."""
    rows: list[Progress] = field(default_factory=list)
    stage_seconds: float | None = None
    """Wall seconds that the trial's stages had taken before its first launch; what it trained of them itself is in its
    own seconds. None if unknown."""
    remote: Remote = field(default_factory=Nowhere)

    @classmethod
    def open(cls, task: Task, began: float) -> "Journal":
        """Open the journal of an interrupted trial, or a new one.

        The journal is written before the checkpoint. Entries after the checkpoint are dropped, since those epochs are
        repeated; the seconds they took still count.
        """
        path = task.scratch and task.scratch / "journal.json"
        written, saved = _read_journal(path), task.saved_meter()
        if task.scratch and (written is None or saved is None):
            task.forget()  # one without the other is useless: start again
            saved = None
        if written is None:
            return cls(path, began, remote=task.remote)
        passes = [spent for spent in written["passes"] if saved and spent <= saved.passes]
        rows = [read_progress(row) for row in written["rows"] if row["index"] <= len(passes)]
        return cls(path, began, written.get("seconds", 0.0), passes, rows, written.get("stage_seconds"), task.remote)

    @property
    def seconds(self) -> float:
        """Wall time of the trial, over all its launches."""
        return self.earlier + time.perf_counter() - self.began

    def add(self, task: Task, ensemble: Ensemble, evaluation: Evaluation, passes: int) -> Progress:
        """Score the ensemble of a trial that will take so many passes on validation, and record it."""
        scores, spent = validate_ensemble(task, ensemble, evaluation), task.meter.passes
        progress = Progress(len(self.passes), spent, self.seconds, scores, spent / passes if passes else 1.0)
        self.rows.append(progress)
        return progress

    def save(self) -> None:
        """Write the journal; called before the checkpoint of the same epoch is written."""
        if self.path:
            rows = [asdict(row) for row in self.rows]
            seconds = {"seconds": self.seconds, "stage_seconds": self.stage_seconds}
            write_atomically(self.path, sealed_text({"passes": self.passes, "rows": rows, **seconds}))
            self.remote.send(self.path)


def read_progress(row: dict[str, Any]) -> Progress:
    """Read a report from JSON, in which scores that are not finite are texts."""
    return Progress(**(row | {"scores": {name: float(value) for name, value in row["scores"].items()}}))


def sealed_text(contents: dict[str, Any]) -> str:
    """The text of a journal with its checksum."""
    bare = {name: value for name, value in contents.items() if name != "checksum"}
    return dump_json(bare | {"checksum": zlib.crc32(dump_json(bare, keep=True).encode())}, keep=True)


def _read_journal(path: Path | None) -> dict[str, Any] | None:
    """Read a journal; None if the file is missing, truncated or corrupt."""
    if path is None:
        return None
    try:
        text = path.read_text()
        contents = json.loads(text)
    except (OSError, ValueError):
        return None
    return contents if isinstance(contents, dict) and text == sealed_text(contents) else None
