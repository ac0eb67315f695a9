"""Selects trials: configurations over seeds, and the best of each construction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from analysis.errors import Missing
from analysis.results import POLICIES, REQUIRED, Row, Setting, Tables, metadata, read

__all__ = ["POLICIES", "Configuration", "Row", "Setting", "Tables", "best_by_construction"]
__all__ += ["configurations", "connected", "hyperparameters", "read"]

_COST = ("passes", "teacher_passes", "teacher_forwards", "images", "seconds")
_PROVENANCE = ("sweep", "status", "commit", "dirty", "device", "device_name", "host", "threads")
_SUFFIXES = ("_version", "_hash", "_at", "_key")
NOT_HYPERPARAMETERS = frozenset((*REQUIRED, *_COST, *_PROVENANCE))
"""Identity, cost and provenance, for files whose columns do not say their `kind` in the metadata."""
CONNECTED_BELOW = 2.0
"""Accuracy points: Frankle et al. (2020), section 3: two networks are connected if the barrier is below 2 %."""


@dataclass(frozen=True)
class Configuration:
    """All hyperparameters but the seed, and its finished trials, one a seed."""

    dataset: str
    model: str
    construction: str
    hyperparameters: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def keys(self) -> list[str]:
        """The keys of its trials, in the order of the seeds."""
        return [row["key"] for row in self.rows]

    def by_seed(self, column: str) -> dict[int, float]:
        """The column's value of each seed that has one."""
        return {row["seed"]: row[column] for row in self.rows if row.get(column) is not None}


def hyperparameters(schema: pa.Schema) -> list[str]:
    """The columns that make a configuration: by their metadata's `kind`, else all that are nothing else we know."""
    return [name for name in schema.names if _is_hyperparameter(schema, name)]


def _is_hyperparameter(schema: pa.Schema, name: str) -> bool:
    if kind := metadata(schema, name, "kind"):
        return kind == "hyperparameter"
    # `val_size` and `test_size` are hyperparameters: what sets a metric apart is that it has a unit.
    scored = name.startswith(("val_", "test_")) and metadata(schema, name, "unit") != ""
    return not (scored or name in NOT_HYPERPARAMETERS or name.endswith(_SUFFIXES))


def configurations(tables: Tables) -> list[Configuration]:
    """Finished trials grouped by (dataset, model, construction, all hyperparameters but the seed)."""
    names = hyperparameters(tables.trials.schema)
    groups: dict[tuple[Any, ...], dict[int, Row]] = {}
    # Sorted by role, so that a replicate stays where a search trial of the same content and seed exists too.
    for row in sorted(tables.rows, key=lambda row: row["role"] != "search", reverse=True):
        identity = (row["dataset"], row["model"], row["construction"], *(row[name] for name in names))
        groups.setdefault(identity, {}).setdefault(row["seed"], row)
    found = []
    for (dataset, model, construction, *values), by_seed in groups.items():
        set_ones = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        rows = [by_seed[seed] for seed in sorted(by_seed)]
        found.append(Configuration(dataset, model, construction, set_ones, rows))
    return found


def best_by_construction(tables: Tables) -> dict[Setting, dict[str, Configuration]]:
    """Per (dataset, model) and construction: the configuration with most seeds, ties by mean validation accuracy."""

    def rank(configuration: Configuration) -> tuple[int, float, list[str]]:
        values = list(configuration.by_seed("val_accuracy").values())
        return len(configuration.rows), sum(values) / len(values) if values else -math.inf, configuration.keys

    best: dict[Setting, dict[str, Configuration]] = {}
    for configuration in sorted(configurations(tables), key=rank):
        best.setdefault((configuration.dataset, configuration.model), {})[configuration.construction] = configuration
    return {setting: best[setting] for setting in sorted(best)}


def connected(tables: Tables, configuration: Configuration) -> bool:
    """Whether the worst validation barrier of every seed is below `CONNECTED_BELOW` points; False if unknown."""
    try:
        barriers = configuration.by_seed(tables.column("barrier", configuration.rows, "val"))
    except Missing:
        return False
    return len(barriers) == len(configuration.rows) and max(barriers.values()) < CONNECTED_BELOW
