"""What is recorded of an ensemble while it grows, and survives that the trial is cut off."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from basin.ensemble import Ensemble
from basin.files import write_atomically
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

    @classmethod
    def open(cls, task: Task, began: float) -> "Journal":
        """The journal of a trial that was cut off, or a new one.

        It is written before the checkpoint: what it knows beyond that is dropped, for it will happen again; its
        seconds are spent whatever is dropped.
        """
        path = task.scratch and task.scratch / "journal.json"
        if path is None or not path.exists():
            return cls(path, began)
        written, saved = json.loads(path.read_text()), task.saved_meter()
        passes = [spent for spent in written["passes"] if saved and spent <= saved.passes]
        rows = [Progress(**row) for row in written["rows"] if row["index"] <= len(passes)]
        return cls(path, began, written.get("seconds", 0.0), passes, rows)

    @property
    def seconds(self) -> float:
        """Wall time of the trial, over all its launches."""
        return self.earlier + time.perf_counter() - self.began

    def add(self, task: Task, ensemble: Ensemble, evaluation: Evaluation) -> Progress:
        """Score the ensemble on validation and record it."""
        scores = validate(task, ensemble, evaluation)
        progress = Progress(len(self.passes), task.meter.passes, self.seconds, scores)
        self.rows.append(progress)
        return progress

    def save(self) -> None:
        """Write the journal, before the checkpoint of the same moment is."""
        if self.path:
            rows = [asdict(row) for row in self.rows]
            write_atomically(self.path, json.dumps({"passes": self.passes, "rows": rows, "seconds": self.seconds}))
