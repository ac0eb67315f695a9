"""Recorded trials of a search: what a replay needs of a sweep, in one small file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from basin.errors import UsageError
from basin.files import write_atomically
from basin.spec import Field
from basin.strict_json import dump_json
from sweeps.execution.early_stopping import MIDPOINTS
from sweeps.search.feedback import mean_excesses, mean_objectives
from sweeps.storage.store import Row
from sweeps.storage.table_file import encode_table
from sweeps.study.catalog import quickstart
from sweeps.study.objectives import early_score, parse_limits
from sweeps.study.space import Space
from sweeps.study.study import Study

FACTS = b"single_basin.recorded"
"""Metadata of the file: the study of the sweep, and where its trials ran."""
IDENTITY = ("key", "construction", "status")
COSTS = ("passes", "batch_size", "members", "teacher_passes")
STUDY = ("base", "constructions", "fixed", "objectives", "margin", "constraints", "ranges", "seed", "identity")
"""Parts of `sweep.json` that say what was searched, and for what."""
PROVENANCE = ("sweep", "commit", "dirty", "sources", "device_name", "threads", "torch_version", "optuna_version")


@dataclass(frozen=True)
class RecordedTrials:
    """Finished trials of a search with the reports of their training, in the order of their keys."""

    study: Study
    rows: Sequence[Row]
    """Scores and costs of each trial."""
    reports: Sequence[Sequence[Row]]
    """Scores of each trial during training, in order."""
    facts: Mapping[str, Any]
    """Provenance: sweep, commit, machine."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """Member-images of each whole trial: passes times batch size, without stages that trials share."""
        return np.array([row["passes"] * row["batch_size"] for row in self.rows], dtype=float)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Objective of each trial; ∞ for one that violates a limit, diverged or failed."""
        return np.array([self._feasible_value(row) for row in self.rows])

    def _feasible_value(self, row: Row) -> float:
        means = mean_objectives(self.study, [row])
        feasible = means is not None and all(excess <= 0 for excess in mean_excesses(self.study, [row]).values())
        return float(-self.study.signs[0] * means[0]) if means is not None and feasible else math.inf

    @cached_property
    def best(self) -> float:
        """The best feasible value."""
        return float(self.values.min())

    @cached_property
    def points(self) -> list[NDArray[np.float64]]:
        """Each trial's point in the unit cube of its construction's space, logarithmic where the search is."""
        return [self.unit_point(str(row["construction"]), row) for row in self.rows]

    def unit_point(self, construction: str, point: Mapping[str, Any]) -> NDArray[np.float64]:
        """A point of the space in the unit cube; a choice is its place among the choices."""
        return np.array([_share(field, point[field.name]) for field in self.study.space.fields(construction)])

    def report_cost(self, index: int, report: Row) -> float:
        """Member-images that a trial has spent at a report."""
        return float(report["passes"] * self.rows[index]["batch_size"])


def _share(field: Field, value: Any) -> float:
    if field.choices:
        return field.choices.index(value) / (len(field.choices) - 1)
    assert field.search is not None
    low, high, at = float(field.search.low), float(field.search.high), float(value)
    if field.search.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def read_recorded(path: Path) -> RecordedTrials:
    """Read a file of `extract_trials`, or a sweep's folder, in which nothing is written.

    Raises UsageError where there is neither, or no trial that satisfies the limits.
    """
    table = extract_trials(path) if path.is_dir() else _read_file(path)
    facts = json.loads(table.schema.metadata[FACTS])
    rows = table.to_pylist()
    reports = [row.pop("history") for row in rows]
    recorded = RecordedTrials(_study_of(facts["study"]), rows, reports, facts["provenance"])
    if not len(recorded) or not math.isfinite(recorded.best):
        raise UsageError(f"{path}: none of {len(recorded)} trials satisfies the limits: expected a feasible one")
    return recorded


def _read_file(path: Path) -> pa.Table:
    try:
        table = pa.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: expected a sweep's folder or a file of recorded trials: {error}") from None
    if FACTS not in (table.schema.metadata or {}):
        raise UsageError(f"{path}: expected a file that search-replay extracted; it does not say which study it holds")
    return table


def extract_trials(folder: Path) -> pa.Table:
    """Collect the searched trials of a sweep's folder, with their reports and provenance; the sweep may be running.

    Raises UsageError if the folder holds no sweep of one objective and one seed a configuration.
    """
    try:
        manifest = json.loads((folder / "sweep.json").read_text())
    except (OSError, ValueError):
        raise UsageError(f"{folder}: expected a sweep's folder with sweep.json") from None
    if len(manifest["objectives"]) > 1 or manifest["replicates"] > 1:
        raise UsageError(f"{folder}: expected a search with one objective and one seed a configuration")
    known = {part: manifest[part] for part in STUDY}
    study = _study_of(known)
    fields = {field.name for name in study.space.constructions for field in study.space.fields(name)}
    scores = {*study.objectives, *(limit.column for limit in study.limits)}
    columns = [*IDENTITY, *sorted(fields), *sorted(scores | {score.replace("val_", "test_") for score in scores})]
    rows, places = [], []
    for path in sorted((folder / "tables" / "trials").glob("*.parquet")):
        (row,) = pa.parquet.read_table(path).to_pylist()
        if row["role"] == "search" and row["status"] != "stopped":
            history = _read_reports(folder / "tables" / "history" / path.name, study)
            rows.append({name: row.get(name) for name in (*columns, *COSTS)} | {"history": history})
            places.append({name: row.get(name) for name in PROVENANCE})
    if not rows:
        raise UsageError(f"{folder}: expected finished trials of a search, found none")
    provenance = {name: sorted({str(place[name]) for place in places}) for name in PROVENANCE}
    facts = {"study": known, "provenance": provenance | {"data": manifest.get("data", {}).get("hash")}}
    return pa.Table.from_pylist(rows).replace_schema_metadata({FACTS: dump_json(facts).encode()})


def _read_reports(path: Path, study: Study) -> list[Row]:
    wanted = ["step", "passes", "progress", *map(early_score, study.objectives), MIDPOINTS]
    rows: list[Row] = pa.parquet.read_table(path, columns=wanted).to_pylist()
    return sorted(rows, key=lambda row: row["step"])


def write_recorded(table: pa.Table, path: Path) -> None:
    """Write the table of `extract_trials`."""
    write_atomically(path, encode_table(table))


def _study_of(known: Mapping[str, Any]) -> Study:
    """The searched study, as far as search and selection need it: its space, objectives and limits."""
    ranges = {name.partition(".")[2]: values for name, values in known["ranges"].items()}
    space = Space(tuple(known["constructions"]), (), known["fixed"])
    space = space.with_searched({name: _stated(values) for name, values in ranges.items()})
    return replace(
        quickstart(None),
        space=space,
        objectives=tuple(known["objectives"]),
        margin=known["margin"],
        constraints=parse_limits(known["constraints"]),
    )


def _stated(values: list[Any]) -> object:
    """A range or choices of the manifest as `--search` states them."""
    if len(values) == 3 and isinstance(values[2], bool):
        low, high, log = values
        return f"{low!r}..{high!r}{' log' if log else ''}"
    return values
