"""Configurations: finished trials grouped by all hyperparameters but the seed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Any

from analysis.constructions import REFERENCE
from analysis.data.columns import evaluation_names, hyperparameter_names
from analysis.data.results import Row, Setting, Tables
from sweeps.storage.roles import REPORTED, SEARCH_SEEDS


@dataclass(frozen=True)
class Configuration:
    """All hyperparameters but the seed, and their finished trials, one per seed.

    A trial that diverged is no finished one: it is no seed, it has no scores, and it is counted apart.
    """

    dataset: str
    model: str
    construction: str
    hyperparameters: Mapping[str, Any]
    rows: Sequence[Row]
    evaluation: frozenset[str] = frozenset()
    """Names of the hyperparameters of the evaluation."""
    diverged: int = 0
    """Number of its seeds that diverged."""

    @property
    def setting(self) -> Setting:
        """The dataset and model."""
        return self.dataset, self.model

    @property
    def defining(self) -> dict[str, Any]:
        """The hyperparameters that define it, without those of the evaluation."""
        return {name: value for name, value in self.hyperparameters.items() if name not in self.evaluation}

    @property
    def keys(self) -> list[str]:
        """The keys of its trials, in the order of the seeds."""
        return [row["key"] for row in self.rows]

    def by_seed(self, column: str) -> dict[int, float]:
        """Return the column's value for each seed that has one."""
        return {row["seed"]: row[column] for row in self.rows if row.get(column) is not None}


def keys_of(some: Iterable[Configuration]) -> list[str]:
    """Return the keys of all trials of these configurations, in order."""
    return list(chain.from_iterable(configuration.keys for configuration in some))


def rows_of(some: Iterable[Configuration]) -> list[Row]:
    """Return all trials of these configurations, in order."""
    return list(chain.from_iterable(configuration.rows for configuration in some))


@lru_cache(maxsize=4)
def configurations(tables: Tables) -> list[Configuration]:
    """Group finished trials by (dataset, model, construction, all hyperparameters but the seed).

    A configuration that was run on fresh seeds consists of these alone. One without a finished trial is left out.
    """
    groups = [_reported_seeds(group) for group in _group_rows(tables, tables.rows)]
    return [group for group in groups if group.rows]


@lru_cache(maxsize=4)
def candidates(tables: Tables) -> list[Configuration]:
    """Group the finished trials that a front is about: those of a search, on all its seeds, or else of a grid.

    These are the configurations of `launch.py best --x --y`. Deep ensembles are left out: they are the reference.
    """
    rows = [row for row in tables.rows if row["construction"] != REFERENCE and is_finished(row)]
    searching = {row.get("sweep") for row in rows if row["role"] == "search"}
    groups = _group_rows(tables, [row for row in rows if _is_candidate(row, searching)])
    return [group for group in groups if any(row["role"] != "replicate" for row in group.rows)]


def is_finished(row: Row) -> bool:
    """Tell whether a trial has ended with scores: it has neither diverged nor been stopped."""
    return row.get("status") not in ("diverged", "stopped")  # earlier versions do not say


def _is_candidate(row: Row, searching: Collection[str | None]) -> bool:
    """Tell whether a trial is of its sweep's search or, if the sweep has none, of its grid."""
    return row["role"] in (SEARCH_SEEDS if row.get("sweep") in searching else ("grid",))


def _group_rows(tables: Tables, rows: Iterable[Row]) -> list[Configuration]:
    names, measuring = hyperparameter_names(tables.trials.schema), evaluation_names(tables.trials.schema)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        identity = (row["dataset"], row["model"], row["construction"], *(row[name] for name in names))
        groups.setdefault(identity, []).append(row)
    grouped = []
    for (dataset, model, construction, *values), members in groups.items():
        set_ones = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        grouped.append(Configuration(dataset, model, construction, set_ones, members, measuring))
    return grouped


def _reported_seeds(configuration: Configuration) -> Configuration:
    """Keep one finished trial per seed: the fresh ones if there are any; a replicate rather than a search trial."""
    fresh = [row for row in configuration.rows if row["role"] == "fresh"]
    by_seed: dict[int, Row] = {}
    for row in sorted(fresh or configuration.rows, key=lambda row: row["role"] == "search"):
        by_seed.setdefault(row["seed"], row)
    seeds = [by_seed[seed] for seed in sorted(by_seed)]
    diverged = sum(row.get("status") == "diverged" for row in seeds)
    return replace(configuration, rows=[row for row in seeds if is_finished(row)], diverged=diverged)


def searched_seeds(configuration: Configuration) -> bool:
    """Tell whether a configuration has only seeds of a search, which may have selected it."""
    return not any(row["role"] in REPORTED for row in configuration.rows)
