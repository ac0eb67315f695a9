"""Write `compact/configurations.parquet`: one row per configuration, with means over its seeds.

Trials of the search and trials on reported seeds are different rows, so that no query mixes them. The file is made from
the result tables and `verdicts.json` whenever a sweep ends, is fetched, or is reconciled. It can be deleted. It is made
column by column, since ten thousand configurations have over a million scores.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from basin.api.tables import make_column
from basin.costs import COSTS
from basin.files import read_object, write_atomically
from stats.intervals import mean_halves
from sweeps.queries.best import Aim
from sweeps.storage.columns import distinguishing_names, is_score
from sweeps.storage.compact import compact_path
from sweeps.storage.roles import REPORTED, SEARCH_SEEDS
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Store
from sweeps.storage.table_file import encode_table
from sweeps.study.objectives import Limit
from sweeps.tracking.tags import experiment_tags

Entry = Mapping[str, Any]
"""What `verdicts.json` has of a configuration."""
Masked = np.ma.MaskedArray[Any, np.dtype[np.float64]]

ORDER = (*REPORTED, *SEARCH_SEEDS)
"""Roles in the order of the rows; a configuration with several has the first."""
LEADING = (
    make_column("configuration", pa.string(), "Hash of the contents without the seed."),
    make_column("role", pa.string(), "fresh, reference or grid: on reported seeds; search: on those of the search."),
    make_column("construction", pa.string(), "Registered name of the construction: how the ensembles were made."),
    make_column("reported", pa.bool_(), "On reported seeds and, if fresh, still the one that the search chooses."),
    make_column("chosen", pa.bool_(), "Whether the search chooses it."),
    make_column("feasible", pa.bool_(), "Whether its means on validation satisfy every limit of the sweep."),
    make_column("verdict_val", pa.string(), "In one basin on validation, over all seeds: yes, no or undecided."),
    make_column("verdict_test", pa.string(), "In one basin on test, over all seeds: yes, no or undecided."),
    make_column("trials", pa.list_(pa.string()), "Keys of the finished trials, by seed."),
    make_column("seeds", pa.int64(), "Number of finished trials: one per seed."),
    make_column("lost", pa.int64(), "Number of trials that diverged or were stopped."),
)


def configurations_path(folder: Path) -> Path:
    """File of the configurations of a sweep's folder."""
    return compact_path(folder).with_name("configurations.parquet")


def write_configurations(store: Store) -> Path:
    """Write the configurations of a sweep and return the file."""
    file = configurations_path(store.folder)
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, encode_table(make_configurations(store)))
    return file


def make_configurations(store: Store) -> pa.Table:
    """Make one row per configuration, those on reported seeds first.

    Columns of hyperparameters and scores have the names of `trials`. A score is the mean over the seeds; NAME_half is
    half of its 95 % interval, over seeds and images where images are stored.
    """
    aim, verdicts = Aim.from_tags(experiment_tags(store)), read_object(store.folder / "verdicts.json")
    grouped = _group_trials(store.trials())
    names = [",".join(sorted(group.keys)) for group in grouped.groups]
    entries = {index: verdicts[name] for index, name in enumerate(names) if verdicts.get(name)}
    chosen = {entry["configuration"] for entry in verdicts.values() if entry["role"] == "fresh" and entry["chosen"]}
    columns = _describe_groups(grouped.groups, chosen)
    columns["feasible"] = _find_feasible(grouped, aim.limits)
    columns |= {f"verdict_{split}": _find_verdicts(grouped, entries, split) for split in ("val", "test")}
    firsts = pa.array([group.rows[0] for group in grouped.groups], pa.int64())
    for field in _trial_columns():
        if is_score(field.name) or field.name in COSTS:
            columns |= _average(grouped, entries, field.name)
        elif field.name in grouped.trials.column_names:
            columns[field.name] = grouped.trials[field.name].take(firsts)
    schema = pa.schema([*LEADING, *_with_halves(_trial_columns())])
    absent = pa.nulls(len(grouped.groups))
    return pa.table([_as_array(columns.get(field.name, absent), field.type) for field in schema], schema)


def _as_array(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


@dataclass(frozen=True)
class _Group:
    """The trials of a configuration, on reported seeds or on those of the search; all by seed."""

    configuration: str
    role: str
    construction: str
    rows: list[int]
    """Rows of its trials in the table of trials."""
    done: list[int]
    """Rows of the finished ones."""
    keys: list[str]
    """Keys of the finished ones."""


@dataclass(frozen=True)
class _Grouped:
    """The table of trials, and its groups."""

    trials: pa.Table
    groups: list[_Group]

    @cached_property
    def sizes(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each number of finished seeds, the indices of its groups, and rows of their trials [groups, seeds]."""
        by_size: dict[int, list[int]] = {}
        for index, group in enumerate(self.groups):
            by_size.setdefault(len(group.done), []).append(index)
        by_size.pop(0, None)
        return [(np.array(at), np.array([self.groups[index].done for index in at])) for at in by_size.values()]

    def values(self, name: str) -> list[Any]:
        """Return the values of a column by trial: None where there is none."""
        return _values(self.trials, name)

    def average(self, name: str) -> tuple[Masked, Masked]:
        """Return the mean of each group, masked unless all finished seeds have a value, and half of its interval."""
        means, halves = (np.ma.MaskedArray(np.zeros(len(self.groups)), mask=True) for _ in range(2))
        if name not in self.trials.column_names:
            return means, halves
        column = self.trials[name].cast(pa.float64())
        values, missing = column.fill_null(0.0).to_numpy(), column.is_null().to_numpy()
        for at, rows in self.sizes:
            complete = ~missing[rows].any(axis=1)
            by_seed = values[rows[complete]]
            means[at[complete]] = by_seed.sum(axis=1) / by_seed.shape[1]
            halves[at[complete]] = np.ma.masked_invalid(mean_halves(by_seed))
        return means, halves


def _group_trials(trials: pa.Table) -> _Grouped:
    """Group by configuration, reported seeds apart from those of the search."""
    names = ("key", "role", "construction", "seed", "status", "configuration")
    keys, roles, constructions, seeds, statuses, hashes = (_values(trials, name) for name in names)
    members: dict[tuple[bool, str], list[int]] = {}
    for row, (key, role, configuration) in enumerate(zip(keys, roles, hashes, strict=True)):
        members.setdefault((role not in REPORTED, configuration or key), []).append(row)
    groups = []
    for (_, configuration), rows in members.items():
        rows.sort(key=lambda row: int(seeds[row]))
        role = min((str(roles[row]) for row in rows), key=ORDER.index)
        done = [row for row in rows if statuses[row] == "done"]
        groups.append(_Group(configuration, role, constructions[rows[0]], rows, done, [keys[row] for row in done]))
    groups.sort(key=lambda group: (ORDER.index(group.role), group.construction, keys[group.rows[0]]))
    return _Grouped(trials, groups)


def _values(trials: pa.Table, name: str) -> list[Any]:
    return list(trials[name].to_pylist()) if name in trials.column_names else [None] * trials.num_rows


def _describe_groups(groups: Sequence[_Group], chosen: Collection[str]) -> dict[str, Any]:
    """Return the leading columns, without those that need scores or verdicts."""
    by_search = [group.configuration in chosen for group in groups]
    reported = [
        group.role in REPORTED and (choice or group.role != "fresh")
        for group, choice in zip(groups, by_search, strict=True)
    ]
    return {
        "configuration": [group.configuration for group in groups],
        "role": [group.role for group in groups],
        "construction": [group.construction for group in groups],
        "reported": reported,
        "chosen": by_search,
        "trials": [group.keys for group in groups],
        "seeds": [len(group.done) for group in groups],
        "lost": [len(group.rows) - len(group.done) for group in groups],
    }


def _find_feasible(grouped: _Grouped, limits: Sequence[Limit]) -> list[bool]:
    """Tell whether the means satisfy the limits; if unknown, whether all trials do. False if no trial has finished."""
    flags = grouped.values("feasible")
    means = {limit.column: grouped.average(limit.column)[0] for limit in limits}
    feasible = []
    for index, group in enumerate(grouped.groups):
        known = {name: float(values[index]) for name, values in means.items() if not np.ma.getmaskarray(values)[index]}
        if not limits or len(known) < len(means):
            satisfied = all(flags[row] is not False for row in group.done)
        else:
            satisfied = all(limit.excess(known) <= 0 for limit in limits)
        feasible.append(bool(group.done) and satisfied)
    return feasible


def _find_verdicts(grouped: _Grouped, entries: Mapping[int, Entry], split: str) -> list[str | None]:
    """Return the joint verdicts; for trials of the search those that all seeds share."""
    by_row = grouped.values(f"verdict_{split}")
    verdicts = []
    for index, group in enumerate(grouped.groups):
        words = {by_row[row] for row in group.done}
        shared = words.pop() if len(words) == 1 else None
        joint = ((entries.get(index, {}).get(split) or {}).get("accuracy") or {}).get("answer")
        verdicts.append(joint if index in entries else shared)
    return verdicts


def _average(grouped: _Grouped, entries: Mapping[int, Entry], name: str) -> dict[str, pa.Array]:
    """Return the mean of a score or cost and half of its interval, as stored in the entries or else over the seeds."""
    means, halves = grouped.average(name)
    split, _, metric = name.partition("_")
    for index, entry in entries.items():
        if stored := ((entry.get("scores") or {}).get(split) or {}).get(metric):
            means[index] = stored["mean"]
            halves[index] = np.ma.masked if stored["half"] is None else stored["half"]
    return {
        name: pa.array(means.data, mask=np.ma.getmaskarray(means)),
        f"{name}_half": pa.array(halves.data, mask=np.ma.getmaskarray(halves)),
    }


def _trial_columns() -> list[pa.Field]:
    """Columns of `trials` that describe a configuration: dataset, model, hyperparameters, scores and costs."""
    described = {"dataset", "model", *distinguishing_names(), *COSTS}
    return [field for field in SCHEMAS["trials"]() if field.name in described or is_score(field.name)]


def _with_halves(columns: Sequence[pa.Field]) -> list[pa.Field]:
    fields = []
    for field in columns:
        if is_score(field.name):
            half = make_column(f"{field.name}_half", pa.float64(), f"Half of the 95 % interval of {field.name}.")
            fields += [field, half]
        else:
            fields.append(field.with_type(pa.float64()) if field.name in COSTS else field)
    return fields
