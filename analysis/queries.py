"""Selects trials: configurations over seeds, and the best of each construction."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from analysis.errors import Missing
from analysis.results import POLICIES, REQUIRED, Row, Setting, Tables, metadata, read
from analysis.statistics import Estimate, mean_interval

__all__ = ["POLICIES", "Configuration", "Row", "Setting", "Tables", "best_by_construction"]
__all__ += ["configurations", "connected", "estimate", "families", "grid", "hyperparameters", "read"]
__all__ += ["recipe", "reference", "seconds", "shared_names"]

_COST = ("passes", "teacher_passes", "teacher_forwards", "stage_passes", "images", "seconds", "stage_seconds")
_PROVENANCE = ("sweep", "status", "commit", "dirty", "device", "device_name", "host", "threads")
_SUFFIXES = ("_version", "_hash", "_at", "_key")
NOT_HYPERPARAMETERS = frozenset((*REQUIRED, *_COST, *_PROVENANCE))
"""Identity, cost and provenance, for files whose columns do not say their `kind` in the metadata."""
_MEASURING = ("alphas", "policies", "bn_images", "hull_points", "train_images", "plane_points", "ood", "predictions")
EVALUATION = frozenset((*_MEASURING, "progress_every"))
"""Hyperparameters that say how an ensemble is measured, not what it is."""
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


@lru_cache(maxsize=4)
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


@lru_cache(maxsize=4)
def best_by_construction(tables: Tables) -> dict[Setting, dict[str, Configuration]]:
    """Per (dataset, model) and construction: the configuration with most seeds, ties by mean validation accuracy.

    All of one recipe, so that they may be compared: the values of what a deep ensemble has too (training, members,
    width, …). It is the recipe with the most constructions, ties by number of trials, then by validation accuracy.
    """
    best: dict[Setting, dict[str, Configuration]] = {}
    for setting, found in _by_setting(configurations(tables)).items():
        names = shared_names(found)
        recipes: dict[tuple[Any, ...], list[Configuration]] = {}
        for configuration in found:
            recipes.setdefault(recipe(configuration, names), []).append(configuration)
        for configuration in sorted(max(recipes.values(), key=_recipe_rank), key=_rank):
            best.setdefault(setting, {})[configuration.construction] = configuration
    return dict(sorted(best.items()))


def shared_names(found: Sequence[Configuration]) -> list[str]:
    """The hyperparameters that a recipe consists of: those of deep ensembles, but for how they are measured."""
    names = {name for c in found if c.construction == "deep" for name in c.hyperparameters}
    return sorted(names - EVALUATION)


def recipe(configuration: Configuration, names: Sequence[str]) -> tuple[Any, ...]:
    """The configuration's values of these hyperparameters."""
    return tuple(configuration.hyperparameters.get(name) for name in names)


def seconds(row: Row) -> float | None:
    """Wall seconds of a trial and of the single runs that it is built from; None if either is not known."""
    own, stages = row.get("seconds"), row.get("stage_seconds")
    return None if own is None or stages is None else float(own + stages)


def reference(tables: Tables, like: Configuration) -> Configuration | None:
    """The deep ensemble of the same recipe with most seeds, if there is one."""
    found = [c for c in configurations(tables) if (c.dataset, c.model) == (like.dataset, like.model)]
    names = shared_names(found)
    able = [c for c in found if c.construction == "deep" and recipe(c, names) == recipe(like, names)]
    return max(able, key=_rank, default=None)


def _by_setting(found: Sequence[Configuration]) -> dict[Setting, list[Configuration]]:
    groups: dict[Setting, list[Configuration]] = {}
    for configuration in found:
        groups.setdefault((configuration.dataset, configuration.model), []).append(configuration)
    return groups


def _accuracy(configuration: Configuration) -> float:
    values = list(configuration.by_seed("val_accuracy").values())
    return sum(values) / len(values) if values else -math.inf


def _rank(configuration: Configuration) -> tuple[int, float, list[str]]:
    return len(configuration.rows), _accuracy(configuration), configuration.keys


def _recipe_rank(found: Iterable[Configuration]) -> tuple[int, int, float]:
    found = list(found)
    constructions = {configuration.construction for configuration in found}
    return len(constructions), sum(len(c.rows) for c in found), max(map(_accuracy, found))


def connected(tables: Tables, configuration: Configuration) -> bool:
    """Whether the worst validation barrier of every seed is below `CONNECTED_BELOW` points; False if unknown."""
    try:
        barriers = configuration.by_seed(tables.column("barrier", configuration.rows, "val"))
    except Missing:
        return False
    return len(barriers) == len(configuration.rows) and max(barriers.values()) < CONNECTED_BELOW


def estimate(tables: Tables, configuration: Configuration, metric: str, split: str | None = None) -> Estimate | None:
    """Mean over seeds of a metric on the reported split, or on `split`; None where no trial has it."""
    try:
        values = configuration.by_seed(tables.column(metric, configuration.rows, split))
    except Missing:
        return None
    return mean_interval(values.values())


def families(tables: Tables, construction: str, axes: Sequence[str]) -> dict[Setting, list[Configuration]]:
    """Per (dataset, model): the configurations that differ in `axes` alone, with the choice of the rest most share.

    Raises Missing if no two configurations do.
    """
    groups: dict[Setting, dict[tuple[Any, ...], list[Configuration]]] = {}
    for found in configurations(tables):
        chosen = found.hyperparameters
        if found.construction == construction and all(axis in chosen for axis in axes):
            rest = tuple(sorted((name, str(value)) for name, value in chosen.items() if name not in axes))
            groups.setdefault((found.dataset, found.model), {}).setdefault(rest, []).append(found)
    largest = {setting: max(by_rest.values(), key=len) for setting, by_rest in sorted(groups.items())}
    kept = {setting: family for setting, family in largest.items() if len(family) > 1}
    if not kept:
        raise Missing(f"no two {construction} configurations differ in {' and '.join(axes)} alone")
    return kept


def grid(
    family: Sequence[Configuration], row: str, column: str, least: int = 2
) -> dict[tuple[Any, Any], Configuration]:
    """Those of a family on a grid: every value of `row` with at least `least` values of `column`, two the other way.

    Keys are (row value, column value); empty for a search, which never draws a value twice.
    """
    cells = {(c.hyperparameters[row], c.hyperparameters[column]): c for c in family}
    while True:
        rows, columns = Counter(r for r, _ in cells), Counter(c for _, c in cells)
        kept = {cell: c for cell, c in cells.items() if rows[cell[0]] >= least and columns[cell[1]] >= 2}
        if len(kept) == len(cells):
            return dict(sorted(kept.items()))
        cells = kept
