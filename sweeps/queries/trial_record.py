"""The record of a finished trial: its row by sections, its files, and the stages it used. Starts without PyTorch."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from basin.errors import UsageError
from basin.files import read_object
from basin.lookup import find_trial, weights_path
from sweeps.storage.table_file import decode_table

SETTINGS = ("dataset", "model", "construction", "split", "training", "evaluation")
"""Sections of the columns that are hyperparameters."""
CHOICES = ("dataset", "model", "construction", "seed")
"""Columns of other sections that are settings."""
VERDICT = ("feasible", "margin", "verdict_val", "verdict_test")
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A value of a row, with what its table says of it."""

    name: str
    value: Any
    unit: str = ""
    better: str = ""
    """`higher`, `lower` or `neither`; empty for what is no score."""
    section: str = "provenance"


@dataclass(frozen=True)
class Setting:
    """A hyperparameter of a trial."""

    name: str
    value: Any
    default: Any = None
    """Value of the sweep's study."""

    @property
    def differs(self) -> bool:
        """Tell whether the trial has another value than the study."""
        return bool(self.value != self.default)


@dataclass(frozen=True)
class StageFile:
    """A state of a stage that the trial was built from."""

    path: Path
    member: int
    step: int


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial as its sweep's folder has it."""

    folder: Path
    """Folder of the sweep."""
    columns: tuple[Column, ...]
    """Values that the trial has, in the order of the table."""
    manifest: Mapping[str, Any]
    """`sweep.json`; empty if there is none."""

    @property
    def row(self) -> Row:
        """The values by name."""
        return {column.name: column.value for column in self.columns}

    @property
    def key(self) -> str:
        """The trial's key."""
        return str(self.row["key"])

    def section(self, name: str) -> list[Column]:
        """Columns of a section; scores without the verdict."""
        return [column for column in self.columns if column.section == name and column.name not in VERDICT]

    def verdict(self) -> list[Column]:
        """Verdicts of this seed, and the limits that they depend on."""
        return [column for column in self.columns if column.name in VERDICT]

    def settings(self) -> list[Setting]:
        """Hyperparameters and seed; those that differ from the study first."""
        base, defaults = self.manifest.get("base", {}), self.manifest.get("defaults", {})
        settings = []
        for column in self.columns:
            if column.section in SETTINGS or column.name in CHOICES:
                default = defaults.get(f"{self.row['construction']}.{column.name}")
                settings.append(Setting(column.name, column.value, base.get(column.name, default)))
        return sorted(settings, key=lambda setting: not setting.differs)

    @property
    def weights(self) -> Path:
        """File of the trained networks, which need not exist."""
        return weights_path(self.folder, str(self.row.get("ensemble_key", self.key)))

    def files(self) -> list[Path]:
        """Existing files of the trial, the networks first."""
        return [
            path for path in (self.weights, *sorted(self.folder.glob(f"tables/*/{self.key}.parquet"))) if path.exists()
        ]

    def stages(self) -> list[StageFile] | None:
        """States of the stages that the trial used, which need not exist; None if the networks do not record them."""
        notes = _read_notes(self.weights)
        if "stages" not in notes:
            return None
        recorded = json.loads(notes["stages"])
        folder = self.folder.parent / "runs" / recorded["folder"]
        named = [(int(member), step) for member, step in recorded["steps"].items()]
        return [
            StageFile(folder / f"member-{member}" / f"step-{step:07d}.safetensors", member, step)
            for member, step in named
        ]

    def source(self, kind: str = "source") -> Path | None:
        """Folder or archive of the images that the sweep used, or with `ood_source` of the other dataset."""
        recorded = self.manifest.get("data", {}).get(kind)
        return Path(recorded) if recorded else None

    def rerun_command(self) -> str:
        """The command that runs the trial again."""
        words = ["python", "launch.py", "rerun", self.key, "--name", self.folder.name]
        for option, path in {
            "--storage": self.folder.parent,
            "--data": self.source(),
            "--ood-data": self.source("ood_source"),
        }.items():
            words += [option, str(path)] if path else []
        return shlex.join(words)


def read_record(storage: Path, key: str, name: str | None = None) -> TrialRecord:
    """Read a trial by the beginning of its key, of a sweep or of all sweeps in a storage.

    Raises UsageError if the key names no trial or several, and if the row is damaged.
    """
    file = find_trial(_sweep_folders(storage, name), key)
    folder = file.parents[2]
    return TrialRecord(folder, tuple(_read_columns(file)), read_object(folder / "sweep.json"))


def _sweep_folders(storage: Path, name: str | None) -> list[Path]:
    folders = sorted(path.parents[1] for path in storage.glob("*/tables/trials"))
    chosen = [folder for folder in folders if name in (None, folder.name)]
    if not chosen:
        names = ", ".join(folder.name for folder in folders) or "(none yet)"
        wanted = "no sweep" if name is None else f"no sweep {name!r}"
        raise UsageError(f"{wanted} in {storage}: expected one of {names}")
    return chosen


def _read_columns(file: Path) -> Sequence[Column]:
    try:
        table = decode_table(file.read_bytes())
    except (pa.ArrowException, OSError):
        table = None
    if table is None or table.num_rows != 1:
        raise UsageError(f"{file}: damaged; rerun the command that started the sweep, which runs this trial again")
    values = {field.name: _read_value(table[field.name]) for field in table.schema}
    return [_describe_column(field, values[field.name]) for field in table.schema if values[field.name] is not None]


def _read_value(column: pa.ChunkedArray) -> Any:
    """The value of a column with one row; a time as text, as pyarrow's own conversion imports pandas."""
    return (column.cast(pa.string()) if pa.types.is_timestamp(column.type) else column)[0].as_py()


def _describe_column(field: pa.Field, value: Any) -> Column:
    facts = {name.decode(): text.decode() for name, text in (field.metadata or {}).items()}
    guessed = {"hyperparameter": "training", "metric": "score"}.get(facts.get("kind", ""), "provenance")
    section = facts.get("section", guessed)  # files of version 0.1 do not say
    section = "identity" if field.name in ("classes", "sweep") else section
    return Column(field.name, value, facts.get("unit", ""), facts.get("better", ""), section)


def _read_notes(path: Path) -> dict[str, str]:
    """Notes of a safetensors file, from its header alone; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError, OverflowError, MemoryError):
        return {}
    notes: dict[str, str] = header.get("__metadata__", {})
    return notes
