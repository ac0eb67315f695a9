"""What is recorded of an ensemble while it grows, and survives that the trial is cut off."""

import json
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from basin.ensemble import Ensemble
from basin.files import Nowhere, Remote, write_atomically
from basin.measure import Evaluation, validate
from basin.task import Task


@dataclass(frozen=True)
class Progress:
    """Scores of a growing ensemble."""

    index: int
    """Which of the ensembles that the construction yielded, from 1."""
    passes: int
    seconds: float
    scores: dict[str, float]
    """Validation metrics, `val_…`."""
    share: float = 0.0
    """Of all passes that the trial will take."""


@dataclass
class Journal:
    """What was recorded of a growing ensemble; kept beside its checkpoint so that both go on together."""

    path: Path | None
    began: float
    """When this launch of the trial did, on the clock of `time.perf_counter`."""
    earlier: float = 0.0
    """Seconds that launches which were cut off had spent when they last wrote."""
    passes: list[int] = field(default_factory=list)
    """Spent at each ensemble yielded so far."""
    rows: list[Progress] = field(default_factory=list)
    stage_seconds: float | None = None
    """Wall seconds that the trial's single runs had taken when its first launch began; what was trained of them
    since is in the trial's own. None if that is not known."""
    remote: Remote = field(default_factory=Nowhere)

    @classmethod
    def open(cls, task: Task, began: float) -> "Journal":
        """The journal of a trial that was cut off, or a new one.

        It is written before the checkpoint: what it knows beyond that is dropped, for it will happen again; its
        seconds are spent whatever is dropped.
        """
        path = task.scratch and task.scratch / "journal.json"
        written, saved = _written(path), task.saved_meter()
        if task.scratch and (written is None or saved is None):
            task.forget()  # one without the other says nothing: what it had done is done again
            saved = None
        if written is None:
            return cls(path, began, remote=task.remote)
        passes = [spent for spent in written["passes"] if saved and spent <= saved.passes]
        rows = [Progress(**row) for row in written["rows"] if row["index"] <= len(passes)]
        return cls(path, began, written.get("seconds", 0.0), passes, rows, written.get("stage_seconds"), task.remote)

    @property
    def seconds(self) -> float:
        """Wall time of the trial, over all its launches."""
        return self.earlier + time.perf_counter() - self.began

    def add(self, task: Task, ensemble: Ensemble, evaluation: Evaluation, passes: int) -> Progress:
        """Score the ensemble of a trial that will take so many passes on validation, and record it."""
        scores, spent = validate(task, ensemble, evaluation), task.meter.passes
        progress = Progress(len(self.passes), spent, self.seconds, scores, spent / passes if passes else 1.0)
        self.rows.append(progress)
        return progress

    def save(self) -> None:
        """Write the journal, before the checkpoint of the same moment is."""
        if self.path:
            rows = [asdict(row) for row in self.rows]
            seconds = {"seconds": self.seconds, "stage_seconds": self.stage_seconds}
            write_atomically(self.path, sealed({"passes": self.passes, "rows": rows, **seconds}))
            self.remote.send(self.path)


def sealed(contents: dict[str, Any]) -> str:
    """The text of a journal, which can tell whether it is as it was written."""
    bare = {name: value for name, value in contents.items() if name != "checksum"}
    return json.dumps(bare | {"checksum": zlib.crc32(json.dumps(bare).encode())})


def _written(path: Path | None) -> dict[str, Any] | None:
    """What a journal's file holds; None if it is absent, torn or changed."""
    if path is None:
        return None
    try:
        text = path.read_text()
        contents = json.loads(text)
    except (OSError, ValueError):
        return None
    return contents if isinstance(contents, dict) and text == sealed(contents) else None
