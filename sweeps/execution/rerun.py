"""Run a finished trial again in a folder of its own, and compare every number bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from basin.environment import Machine, Place
from basin.errors import UsageError
from basin.journal import Progress
from basin.provenance import PACKAGES, collect_provenance
from basin.spec import describe_fields, replace_known
from basin.training.loop import DivergedError
from basin.trial import SECTIONS, Trial, overlay, run, trial_of_names
from sweeps.execution.remeasuring import trial_of_row
from sweeps.storage.columns import TIMING
from sweeps.storage.outcomes import LISTS, ROUNDED
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Row, Store, progress_columns, tables_of, tables_of_diverged, tables_of_stopped

CIRCUMSTANCES = (
    *("device", "device_name", "threads", "engine", "host", "sources", "python_version"),
    *(f"{name}_version" for name in PACKAGES if name in ("torch", "torchvision", "numpy")),
)
"""Columns on which the last bits of a result may depend."""
NUMBERS = ("score", "cost")
"""Sections of `trials` that are compared; the other tables are compared in full."""
UNCOMPARED = (*TIMING, "feasible", "margin", "verdict_val", "verdict_test")
"""Times, and columns that follow from the scores and the sweep's limits."""


@dataclass(frozen=True)
class Difference:
    """A column of a table that is not the same."""

    table: str
    column: str
    count: int
    """Values that differ."""
    total: int
    """Values in the column."""
    largest: float | None
    """Largest absolute difference; None for what is no number, and if the numbers of rows differ."""


@dataclass(frozen=True)
class Rerun:
    """A trial that was run again."""

    store: Store
    """The new folder."""
    key: str
    columns: int
    """Columns that were compared."""
    differences: tuple[Difference, ...]
    circumstances: Mapping[str, tuple[Any, Any]]
    """Column of the row → its value then and now, where they differ."""
    published: bool = False
    """True if the stored results per image are those of a published sweep: some rows, and rounded losses."""


def rerun_trial(store: Store, key: str, folder: Path, place: Place) -> Rerun:
    """Run a trial again and write its networks and tables below `folder`; the sweep's own files are only read.

    `place` says where images are; device and threads are those of the row, if they can be had. Raises UsageError if
    this code would run another trial, or if the data cannot be used.
    """
    row = store.row(key)
    if row is None:
        raise UsageError(f"{store.table_path('trials', key)}: damaged; rerun the command that started the sweep")
    again = Store(folder / store.name)
    place = replace(place, machine=_machine_of(row, place), runs=folder / "runs")
    tables = _run_as_before(rebuild_trial(row), row, place, again, len(store.history(key)))
    again.write_tables(key, tables)
    differences, columns, published = _compare_trials(store, again, key)
    now = collect_provenance() | tables["trials"][0]
    changed = {name: (row.get(name), now.get(name)) for name in CIRCUMSTANCES if row.get(name) != now.get(name)}
    circumstances = {name: pair for name, pair in changed.items() if pair[1]}
    return Rerun(again, key, columns, tuple(differences), circumstances, published)


def rebuild_trial(row: Row) -> Trial:
    """The trial of a row; raises UsageError if this code has another meaning for its values."""
    base = trial_of_names(row)
    fields = chain.from_iterable(describe_fields(type(getattr(base, section))) for section in SECTIONS)
    base = overlay(base, {field.name: field.since.value for field in fields if field.since})
    trial = trial_of_row(row, base)
    if trial.key != row["key"]:
        raise UsageError(
            f"trial {row['key']} was made by other code, in which its values had another meaning: "
            f"check out commit {row.get('commit')} to run it again"
        )
    return trial


def _machine_of(row: Row, place: Place) -> Machine:
    """The settings of a row's machine; on another device the fastest execution mode."""
    device = "cpu" if row.get("device") == "cpu" else "auto"
    engine, _, compiled = str(row.get("engine") or "auto").partition(" ")
    machine: Machine = replace_known(Machine(), {"device": device, "threads": row.get("threads") or 1})
    if replace(place, machine=machine).torch_device.type != row.get("device"):
        return machine
    same: Machine = replace_known(machine, {"engine": engine, "compile": bool(compiled)})
    return same


class _StoppedError(Exception):
    """Raised where early stopping stopped the trial."""


def _run_as_before(trial: Trial, row: Row, place: Place, again: Store, reports: int) -> dict[str, list[Row]]:
    """Run a trial as far as it was run before; its networks are stored."""
    history: list[Row] = []

    def report(progress: Progress) -> None:
        history.append({**progress_columns(progress), **progress.scores})
        if row["status"] == "stopped" and len(history) == reports:
            raise _StoppedError

    facts = {"sweep": again.name, "role": row.get("role"), "configuration": row.get("configuration")}
    facts |= collect_provenance()
    try:
        outcome = run(trial, place, report)
    except DivergedError:
        return tables_of_diverged(trial, **facts)
    except _StoppedError:
        return tables_of_stopped(trial, history, **facts)
    again.write_weights(outcome)
    return tables_of(outcome, **facts)


def _compare_trials(store: Store, again: Store, key: str) -> tuple[list[Difference], int, bool]:
    """Columns that differ, the number of columns compared, and whether a stored table came back from publishing."""
    differences, columns, published = [], 0, False
    for name in SCHEMAS:
        if not (store.table_path(name, key).exists() and again.table_path(name, key).exists()):
            continue
        old, new = store.table(name, key), again.table(name, key)
        if ROUNDED in (old.schema.metadata or {}):  # it came back from publishing
            published = True
            old, new = _exact_part(old, new)
        for column in _compared_columns(name, old, new):
            columns += 1
            difference = _compare_columns(name, column, old[column], new[column])
            if difference:
                differences.append(difference)
    return differences, columns, published


def _exact_part(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return both tables without lists, which publishing rounds; the new one with the rows that it keeps."""
    kept = set(zip(old["split"].to_pylist(), old["kind"].to_pylist(), strict=True))
    places = zip(new["split"].to_pylist(), new["kind"].to_pylist(), strict=True)
    rows = new.filter(pa.array([place in kept for place in places]))
    return old.drop_columns(list(LISTS)), rows.drop_columns(list(LISTS))


def _compared_columns(name: str, old: pa.Table, new: pa.Table) -> list[str]:
    both = [field for field in new.schema if field.name in old.column_names and field.name not in UNCOMPARED]
    shared = [field for field in both if not _is_empty(old[field.name]) or not _is_empty(new[field.name])]
    if name == "trials":
        shared = [field for field in shared if (field.metadata or {}).get(b"section", b"").decode() in NUMBERS]
        return ["status", *(field.name for field in shared)]
    return [field.name for field in shared]


def _is_empty(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _compare_columns(table: str, column: str, old: pa.ChunkedArray, new: pa.ChunkedArray) -> Difference | None:
    """The difference of two columns; None if they are the same, bit for bit (NaN is NaN)."""
    one, other = _flatten(old), _flatten(new)
    if len(one) != len(other):
        return Difference(table, column, abs(len(one) - len(other)), len(one), None)
    if not pa.types.is_floating(old.type if not pa.types.is_list(old.type) else old.type.value_type):
        count = sum(a != b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True))
        return Difference(table, column, count, len(one), None) if count else None
    first, second = (part.to_numpy(zero_copy_only=False).astype(np.float64) for part in (one, other))
    unequal = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    if not unequal.any():
        return None
    largest = float(np.abs(first[unequal] - second[unequal]).max())
    return Difference(table, column, int(unequal.sum()), len(first), largest)


def _flatten(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pyarrow.compute.list_flatten(whole) if pa.types.is_list(column.type) else whole
