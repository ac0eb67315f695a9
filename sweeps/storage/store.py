"""Results of a sweep: one Parquet file per trial and table, written atomically."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from basin.costs import trial_costs
from basin.errors import UsageError
from basin.files import write_atomically
from basin.journal import Progress
from basin.lookup import is_key, weights_path
from basin.measure import Predictions
from basin.outcome_file import round_to_half
from basin.results import ImageResults
from basin.saved import ensemble_file
from basin.trial import Outcome, Trial
from sweeps.storage.columns import name_classes
from sweeps.storage.compact import is_row_of, read_trials
from sweeps.storage.outcomes import pack_correct
from sweeps.storage.schemas import ALWAYS, SCHEMAS
from sweeps.storage.table_file import decode_table, encode_table

Row = dict[str, Any]
SET_ASIDE = "earlier"
"""Folder of a sweep for rows that an earlier version of the evaluation measured."""


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
        """Journal file of the searcher's Optuna study."""
        return self.folder / "optuna.journal"

    def table_path(self, table: str, key: str) -> Path:
        """File with a trial's rows of a table."""
        return self.folder / "tables" / table / f"{key}.parquet"

    def trial_files(self, key: str) -> list[Path]:
        """Existing files of a trial in the order of writing; the row of `trials` comes last."""
        row = self.row(key) or {}
        networks = [self.weights_path(row["ensemble_key"])] if row.get("ensemble_key") else []
        return [path for path in (*networks, *self.trial_tables(key)) if path.exists()]

    def trial_tables(self, key: str) -> list[Path]:
        """Existing table files of a trial."""
        return [path for path in (self.table_path(name, key) for name in SCHEMAS) if path.exists()]

    def weights_path(self, ensemble_key: str) -> Path:
        """File of trained networks, shared by all trials that measure them."""
        return weights_path(self.folder, ensemble_key)

    def scratch_path(self, key: str) -> Path:
        """Folder of a trial's checkpoint and progress log."""
        return self.folder / "scratch" / key

    def keys(self) -> list[str]:
        """Keys of the finished trials; files with other names belong to the user and are ignored."""
        return sorted(path.stem for path in (self.folder / "tables" / "trials").glob("*.parquet") if is_key(path.stem))

    def row(self, key: str) -> Row | None:
        """Row of a trial; None if it has not finished, or if its file is damaged or has another trial's row."""
        try:
            table = decode_table(self.table_path("trials", key).read_bytes())
        except (pa.ArrowException, OSError):
            return None
        return dict(table.to_pylist()[0]) if table is not None and is_row_of(table, key) else None

    def rows(self, columns: Sequence[str] | None = None) -> list[Row]:
        """Rows of all finished trials, or some columns, sorted by key; skips damaged files and missing columns.

        Raises UsageError, naming the file, for a column of another type.
        """
        table = self.trials()
        chosen = [name for name in columns or table.column_names if name in table.column_names]
        rows: list[Row] = table.select(chosen).to_pylist()
        return rows

    def trials(self) -> pa.Table:
        """Rows of all finished trials as a table, with the columns that some trial has; skips damaged files.

        Raises UsageError, naming the file, for a column of another type.
        """
        try:
            return read_trials(self.folder)
        except pa.ArrowTypeError as error:
            raise UsageError(str(error)) from error

    def intact_rows(self) -> list[Row]:
        """Rows of all finished trials, sorted by key; raises UsageError, naming the file, if one cannot be read."""
        rows = self.rows()
        lost = sorted(set(self.keys()) - {row["key"] for row in rows})
        if lost:
            raise UsageError(
                f"{self.table_path('trials', lost[0])}: damaged or changed; rerun the command that started the sweep, "
                "which runs this trial again"
            )
        return rows

    def table(self, table: str, key: str) -> pa.Table:
        """A trial's rows of a table."""
        with pyarrow.parquet.ParquetFile(self.table_path(table, key)) as file:
            return file.read()

    def history(self, key: str, columns: Sequence[str] | None = None) -> list[Row]:
        """Scores of a trial during training, or some of their columns, in order; empty if they cannot be read."""
        wanted = ["step", *columns] if columns else None
        try:
            with pyarrow.parquet.ParquetFile(self.table_path("history", key)) as file:
                rows: list[Row] = file.read(wanted, use_threads=False).to_pylist()
        except (pa.ArrowInvalid, OSError):
            return []
        return sorted(rows, key=lambda row: row["step"])

    def write_tables(self, key: str, tables: Mapping[str, list[Row]], classes: Sequence[str] = ()) -> None:
        """Write all tables of a trial; the row that marks it as done comes last.

        `classes` are the names of the labels, for the metadata of `predictions`.
        """
        for name in SCHEMAS:
            rows = tables.get(name, [])
            if not rows and name not in ALWAYS:
                continue
            schema = name_classes(_table_schema(name), classes) if name == "predictions" else _table_schema(name)
            write_atomically(self.table_path(name, key), encode_table(pa.Table.from_pylist(rows, schema)))

    def write_weights(self, outcome: Outcome) -> None:
        """Write the trained ensemble and what is needed to measure it again (format: `basin.saved`)."""
        key = outcome.trial.ensemble_key
        write_atomically(self.weights_path(key), ensemble_file(outcome.saved, key))


@cache
def _table_schema(table: str) -> pa.Schema:
    return SCHEMAS[table]()


def tables_of(outcome: Outcome, **facts: Any) -> dict[str, list[Row]]:
    """Make the rows of a finished trial; `facts` are columns of the sweep."""
    key = outcome.trial.key
    row = {
        **_identity_columns(outcome.trial),
        "status": "done",
        **outcome.measured.scores,
        **trial_costs(outcome),
        **outcome.machine,
        "classes": outcome.inputs.classes,
        **facts,
    }
    history = [{"key": key, **progress_columns(progress), **progress.scores} for progress in outcome.history]
    measured = outcome.measured
    return {
        "trials": [row],
        "members": [{"key": key, **member} for member in measured.members],
        "history": history,
        "paths": [{"key": key, **asdict(point)} for point in measured.paths],
        "hull": [{"key": key, **asdict(point)} for point in measured.hull],
        "planes": [{"key": key, **asdict(point)} for point in measured.plane],
        "reliability": [{"key": key, "split": split, **asdict(row)} for split, row in measured.reliability],
        "certificates": [{"key": key, **asdict(proof)} for proof in outcome.ensemble.certificates],
        "predictions": list(_prediction_rows(key, measured.predictions)),
        "outcomes": outcome_rows(key, outcome),
        "sizes": [{"key": key, **asdict(size)} for size in measured.sizes],
    }


def outcome_rows(key: str, outcome: Outcome) -> list[Row]:
    """Make a trial's rows of the table `outcomes`."""
    keep_nll = outcome.trial.evaluation.outcome_nll
    return [_outcome_row(key, one, keep_nll) for one in outcome.measured.outcomes]


def progress_columns(progress: Progress) -> Row:
    """Columns with the cost of an ensemble in training."""
    return {"step": progress.index, "passes": progress.passes, "seconds": progress.seconds, "progress": progress.share}


def _prediction_rows(key: str, kept: list[Predictions]) -> Iterator[Row]:
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


def _outcome_row(key: str, results: ImageResults, keep_nll: bool) -> Row:
    return {
        "key": key,
        "split": results.split,
        "kind": results.kind,
        "policy": results.policy,
        "weights": results.weights,
        "size": results.size,
        "judged": results.judged,
        "images": len(results.nll),
        "correct": None if results.correct is None else pack_correct(results.correct),
        "accuracy_per_image": None if results.share is None else round_to_half(results.share),
        "nll": round_to_half(results.nll) if keep_nll else None,
        "calibrated_nll": None if results.calibrated_nll is None else round_to_half(results.calibrated_nll),
    }


def tables_of_diverged(trial: Trial, **facts: Any) -> dict[str, list[Row]]:
    """Make the row of a trial whose training diverged."""
    row = {**_identity_columns(trial), "status": "diverged", **facts}
    return {"trials": [row]}


def tables_of_stopped(trial: Trial, reports: Sequence[Row], **facts: Any) -> dict[str, list[Row]]:
    """Make the rows of a trial that was stopped early: its cost and its scores during training."""
    last = reports[-1]
    row = {
        **_identity_columns(trial),
        "status": "stopped",
        "passes": last["passes"],
        "seconds": last["seconds"],
        **facts,
    }
    return {"trials": [row], "history": [{"key": trial.key, **report} for report in reports]}


def _identity_columns(trial: Trial) -> Row:
    return {"key": trial.key, "ensemble_key": trial.ensemble_key, **trial.flat(), "finished_at": datetime.now(UTC)}


def superseded_keys(store: Store) -> dict[str, str]:
    """Key of each row that was set aside → name of the folder that has it, such as `evaluation-3`."""
    return {path.stem: path.parents[2].name for path in (store.folder / SET_ASIDE).glob("*/tables/trials/*.parquet")}


def open_store(storage: Path, name: str) -> Store:
    """Open an existing sweep; raises UsageError if there is none of this name."""
    store = Store(storage / name)
    if not store.folder.is_dir():
        names = sorted(path.parent.name for path in storage.glob("*/sweep.json"))
        raise UsageError(f"no sweep {name!r} in {storage}: expected one of {', '.join(names) or '(none yet)'}")
    return store
