"""The ledger of a sweep: one Parquet file a trial and table, each there whole or not at all."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from basin.errors import UsageError
from basin.files import replace_atomically
from basin.journal import Progress
from basin.measure import Predictions
from basin.runs import serialized
from basin.trial import Outcome, Trial
from sweeps import compact, single
from sweeps.schemas import ALWAYS, SCHEMAS
from sweeps.sealing import seal

Row = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """The folder of one sweep."""

    folder: Path

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """Where the searcher's Optuna study lies."""
        return self.folder / "optuna.journal"

    def path(self, table: str, key: str) -> Path:
        """Where a trial's part of a table lies."""
        return self.folder / "tables" / table / f"{key}.parquet"

    def files(self, key: str) -> list[Path]:
        """What there is of a trial, in the order of writing: the row that says it is done comes last."""
        every = [self.folder / "weights" / f"{key}.safetensors", *(self.path(name, key) for name in SCHEMAS)]
        return [path for path in every if path.exists()]

    def scratch(self, key: str) -> Path:
        """Where a trial keeps what it needs to go on after it was cut off."""
        return self.folder / "scratch" / key

    def keys(self) -> list[str]:
        """The finished trials."""
        return sorted(path.stem for path in (self.folder / "tables" / "trials").glob("*.parquet"))

    def row(self, key: str) -> Row | None:
        """A trial's row; None if it has not finished, or its file is torn and so must be made again."""
        try:
            table = single.read(self.path("trials", key).read_bytes())
        except (pa.ArrowException, OSError):
            return None
        return dict(table.to_pylist()[0]) if table is not None and table.num_rows else None

    def rows(self, columns: Sequence[str] | None = None) -> list[Row]:
        """Every finished trial's row, or these columns of it, by key; torn ones are passed over."""
        table = compact.read(self.folder)
        rows: list[Row] = (table.select(columns) if columns and table.num_rows else table).to_pylist()
        return rows

    def table(self, table: str, key: str) -> pa.Table:
        """A trial's part of a table."""
        return pyarrow.parquet.read_table(self.path(table, key))

    def history(self, key: str) -> list[Row]:
        """A trial's scores while it grew, in order; none if there are none that can be read."""
        try:
            rows: list[Row] = self.table("history", key).to_pylist()
        except (pa.ArrowInvalid, OSError):
            return []
        return sorted(rows, key=lambda row: row["step"])

    def write(self, key: str, tables: Mapping[str, list[Row]]) -> None:
        """All tables of a trial; the row that says it is done comes last."""
        for name in SCHEMAS:
            rows = tables.get(name, [])
            if not rows and name not in ALWAYS:
                continue
            table = pa.Table.from_pylist(rows, _schema(name))
            _write(self.path(name, key), single.written(table) if table.num_rows == 1 else _several(table))

    def write_weights(self, key: str, outcome: Outcome) -> None:
        """The vertices of the ensemble, each tensor with a leading member axis."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in outcome.ensemble.vertices.items()}
        _write(self.folder / "weights" / f"{key}.safetensors", serialized(tensors, {"key": key}))


@cache
def _schema(table: str) -> pa.Schema:
    return SCHEMAS[table]()


def _several(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return seal(buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_atomically(path, write)


def tables_of(outcome: Outcome, **facts: Any) -> dict[str, list[Row]]:
    """The rows of a finished trial; `facts` are the sweep's own columns."""
    key = outcome.trial.key
    row = {
        **_identity(outcome.trial),
        "status": "done",
        **outcome.measured.scores,
        **outcome.cost,
        **outcome.machine,
        **facts,
    }
    history = [{"key": key, **so_far(progress), **progress.scores} for progress in outcome.history]
    found = outcome.measured
    return {
        "trials": [row],
        "members": [{"key": key, **member} for member in found.members],
        "history": history,
        "paths": [{"key": key, **asdict(point)} for point in found.paths],
        "hull": [{"key": key, **asdict(point)} for point in found.hull],
        "planes": [{"key": key, **asdict(point)} for point in found.plane],
        "reliability": [{"key": key, "split": split, **asdict(row)} for split, row in found.reliability],
        "certificates": [{"key": key, **asdict(proof)} for proof in outcome.ensemble.certificates],
        "predictions": list(_predictions(key, found.predictions)),
    }


def so_far(progress: Progress) -> Row:
    """What a growing ensemble has cost."""
    return {
        "step": progress.index,
        "passes": progress.passes,
        "seconds": progress.seconds,
        "progress": progress.share,
    }


def _predictions(key: str, kept: list[Predictions]) -> Iterator[Row]:
    for split in kept:
        values, labels = split.log_probs.half().numpy(), split.labels.tolist()
        for member, images in enumerate(values):
            for image, log_probs in enumerate(images):
                yield {
                    "key": key,
                    "split": split.split,
                    "member": member,
                    "image": image,
                    "label": labels[image],
                    "log_probs": log_probs,
                }


def tables_of_diverged(trial: Trial, **facts: Any) -> dict[str, list[Row]]:
    """The rows of a trial that has no result and will not have one."""
    row = {**_identity(trial), "status": "diverged", **facts}
    return {"trials": [row]}


def tables_of_stopped(trial: Trial, reports: Sequence[Row], **facts: Any) -> dict[str, list[Row]]:
    """The rows of a trial that was stopped early: what it cost, and its scores while it grew; it has no final ones."""
    last = reports[-1]
    row = {**_identity(trial), "status": "stopped", "passes": last["passes"], "seconds": last["seconds"], **facts}
    return {"trials": [row], "history": [{"key": trial.key, **report} for report in reports]}


def _identity(trial: Trial) -> Row:
    return {"key": trial.key, **trial.flat(), "finished_at": datetime.now(UTC)}


def open_store(storage: Path, name: str) -> Store:
    """A sweep that exists; raises UsageError naming those that do."""
    store = Store(storage / name)
    if not store.folder.is_dir():
        there = sorted(path.parent.name for path in storage.glob("*/sweep.json"))
        raise UsageError(f"no sweep {name!r} in {storage}: expected one of {', '.join(there) or '(none yet)'}")
    return store
