"""Select configurations: the best of each construction, fronts, families and grids."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from analysis.constructions import REFERENCE
from analysis.data import outcomes, predictions
from analysis.data.columns import evaluation_names, hyperparameter_names
from analysis.data.configurations import Configuration, candidates, configurations, keys_of, rows_of, searched_seeds
from analysis.data.results import Row, Setting, Tables, read_tables
from analysis.errors import Missing
from stats import pareto
from stats.intervals import Estimate, estimate_by_seed
from stats.verdicts import MARGIN

__all__ = ["Configuration", "Row", "Setting", "Tables", "best_by_construction"]
__all__ += ["candidates", "configuration_families", "configurations", "deep_ensembles", "deep_reference"]
__all__ += ["estimate_metric", "evaluation_names", "first_present", "grid_cells", "hyperparameter_names"]
__all__ += ["image_values", "keys_of", "mean_metric", "read_tables", "recipe_values", "rows_of", "searched_seeds"]
__all__ += ["front_configurations", "on_front", "shared_names", "validation_front", "whole_seconds"]


LOSS_DIGITS = 5
"""Digits of a mean NLL (nats) that a choice looks at: below them is the rounding of networks that compute the same."""


@lru_cache(maxsize=4)
def best_by_construction(tables: Tables) -> dict[Setting, dict[str, Configuration]]:
    """Choose a configuration per (dataset, model) and construction, all of one recipe, so that they may be compared.

    First those that their sweep still chooses (verdicts.json), then those with most fresh seeds, then with most seeds,
    then those whose validation scores satisfy the basin constraint, then by mean validation NLL to five digits, then by
    barrier on validation. A recipe is what a deep ensemble has too (training, members, width, …): the one with the most
    constructions, ties by number of trials, then by validation NLL.
    """
    best: dict[Setting, dict[str, Configuration]] = {}
    for setting, of_setting in _by_setting(configurations(tables)).items():
        names = shared_names(of_setting)
        recipes: dict[tuple[Any, ...], list[Configuration]] = {}
        for configuration in of_setting:
            recipes.setdefault(recipe_values(configuration, names), []).append(configuration)
        ranks = {id(configuration): _rank_configuration(tables, configuration) for configuration in of_setting}
        for configuration in sorted(max(recipes.values(), key=_recipe_rank), key=lambda c: ranks[id(c)]):
            best.setdefault(setting, {})[configuration.construction] = configuration
    return dict(sorted(best.items()))


def validation_front(tables: Tables, compared: Sequence[Configuration], metric: str = "accuracy") -> list[int]:
    """Return the indices of the Pareto-optimal configurations in connectivity and `metric` on validation.

    Means over seeds, of the configurations that satisfy the sweep's limits, or of all if none does. A mean q̄ above 0
    counts as 0: it means that members are worse than their midpoints.
    """
    sign = -1.0 if metric == "nll" else 1.0
    scores = [(mean_metric(tables, c, "q_bar", "val"), mean_metric(tables, c, metric, "val")) for c in compared]
    able = [index for index, pair in enumerate(scores) if None not in pair]
    admissible = [index for index in able if _is_feasible(tables, compared[index])] or able
    points = {i: (min(scores[i][0] or 0.0, 0.0), sign * (scores[i][1] or 0.0)) for i in admissible}
    return sorted(pareto.front(points), key=lambda i: scores[i][0] or 0.0)


@lru_cache(maxsize=32)
def front_configurations(tables: Tables, setting: Setting, metric: str = "accuracy") -> list[Configuration]:
    """Return the validation front of a (dataset, model), from small to large q̄: the one front of figures and report."""
    compared = [c for c in candidates(tables) if c.setting == setting]
    return [compared[index] for index in validation_front(tables, compared, metric)]


def on_front(tables: Tables, compared: Sequence[Configuration]) -> list[int]:
    """Return the indices of the configurations, on whatever seeds, that are on the front of their (dataset, model)."""
    settings = {configuration.setting for configuration in compared}
    fronts = [front_configurations(tables, setting) for setting in settings]
    front = set(map(_identity, chain.from_iterable(fronts)))
    return [index for index, configuration in enumerate(compared) if _identity(configuration) in front]


def _identity(configuration: Configuration) -> tuple[Any, ...]:
    named = tuple(sorted((name, str(value)) for name, value in configuration.defining.items()))
    return configuration.setting, configuration.construction, named


def first_present(names: Sequence[str], present: Collection[str]) -> str | None:
    """Return the first of the names that is present, if any."""
    return next((name for name in names if name in present), None)


def shared_names(compared: Sequence[Configuration]) -> list[str]:
    """Return the hyperparameters of a recipe: those of deep ensembles, without those of the evaluation."""
    return sorted(set().union(*(c.defining for c in compared if c.construction == REFERENCE)))


def recipe_values(configuration: Configuration, names: Sequence[str]) -> tuple[Any, ...]:
    """Return the configuration's values of these hyperparameters."""
    return tuple(configuration.hyperparameters.get(name) for name in names)


def whole_seconds(row: Row) -> float | None:
    """Return the wall seconds of a trial and of its stages; None if either is unknown."""
    trial_seconds, stages = row.get("seconds"), row.get("stage_seconds")
    return None if trial_seconds is None or stages is None else float(trial_seconds + stages)


def deep_reference(tables: Tables, like: Configuration) -> Configuration | None:
    """Return the deep ensemble of the same recipe with most seeds, if there is one."""
    return max(deep_ensembles(tables, like), key=lambda c: _rank_configuration(tables, c), default=None)


def deep_ensembles(tables: Tables, like: Configuration, apart_from: str = "") -> list[Configuration]:
    """Return the deep ensembles of the same dataset, model and recipe, whose `apart_from` may differ."""
    compared = [c for c in configurations(tables) if c.setting == like.setting]
    names = [name for name in shared_names(compared) if name != apart_from]
    deep = [c for c in compared if c.construction == REFERENCE]
    return [c for c in deep if recipe_values(c, names) == recipe_values(like, names)]


def _by_setting(compared: Sequence[Configuration]) -> dict[Setting, list[Configuration]]:
    groups: dict[Setting, list[Configuration]] = {}
    for configuration in compared:
        groups.setdefault(configuration.setting, []).append(configuration)
    return groups


def _validation_mean(configuration: Configuration, column: str, otherwise: float) -> float:
    values = list(configuration.by_seed(column).values())
    return sum(values) / len(values) if values else otherwise


def _rank_configuration(tables: Tables, configuration: Configuration) -> tuple[Any, ...]:
    fresh = sum(row["role"] == "fresh" for row in configuration.rows)
    barrier = mean_metric(tables, configuration, "barrier", "val")
    quality = (
        -round(_validation_mean(configuration, "val_nll", math.inf), LOSS_DIGITS),
        -math.inf if barrier is None else -barrier,
        _validation_mean(configuration, "val_accuracy", -math.inf),
    )
    chosen = not tables.dismissed.intersection(configuration.keys)
    return chosen, fresh, len(configuration.rows), _is_feasible(tables, configuration), *quality, configuration.keys


def _is_feasible(tables: Tables, configuration: Configuration) -> bool:
    """Tell whether means over seeds satisfy the sweep's limits on validation or, without any, the reader's margin.

    A trial tells whether it satisfies all limits. So of several trials the mean upper bound is compared with the
    margin, and one that is infeasible within its margin violates another limit.
    """
    rows = configuration.rows
    margins = [row["margin"] for row in rows if row.get("margin") is not None]
    known = [row["feasible"] for row in rows if row.get("feasible") is not None]
    upper = mean_metric(tables, configuration, "basin_upper", "val")
    if upper is None or (known and len(rows) == 1):
        return all(known)
    given = [tables.margin] if tables.margin is not None and not known else []
    margin = next(iter([*given, *margins]), MARGIN)
    uppers = configuration.by_seed(tables.column("basin_upper", rows, "val"))
    others = [row for row in rows if row.get("feasible") is False and uppers.get(row["seed"], 0.0) <= margin]
    return bool(upper <= margin) and not others


def _recipe_rank(compared: Iterable[Configuration]) -> tuple[Any, ...]:
    compared = list(compared)
    constructions = {configuration.construction for configuration in compared}
    trials = sum(len(c.rows) for c in compared)
    return (
        len(constructions),
        trials,
        max(-_validation_mean(c, "val_nll", math.inf) for c in compared),
        max(_validation_mean(c, "val_accuracy", -math.inf) for c in compared),
    )


def estimate_metric(
    tables: Tables, configuration: Configuration, metric: str, split: str | None = None
) -> Estimate | None:
    """Estimate a metric on the reported split, or on `split`; None where no trial has it.

    The interval is over seeds and images where every seed keeps outcomes, else over seeds alone.
    """
    values = scores_by_seed(tables, configuration, metric, split)
    return estimate_by_seed(values, image_values(tables, configuration.rows, metric, split)) if values else None


def mean_metric(tables: Tables, configuration: Configuration, metric: str, split: str | None = None) -> float | None:
    """Return the mean over seeds of a metric, without reading outcomes; None where no trial has it."""
    values = scores_by_seed(tables, configuration, metric, split)
    return sum(values.values()) / len(values) if values else None


def scores_by_seed(
    tables: Tables, configuration: Configuration, metric: str, split: str | None = None
) -> dict[int, float]:
    """Return a metric by seed, on the reported split, or on `split`; empty where no trial has it.

    A metric of path ends, which is no column, is the mean of its values over images.
    """
    if metric in outcomes.OF_ENDS:
        values = image_values(tables, configuration.rows, metric, split)
        return {seed: float(images.mean()) for seed, images in values.items()}
    try:
        return configuration.by_seed(tables.column(metric, configuration.rows, split))
    except Missing:
        return {}


def image_values(tables: Tables, rows: Sequence[Row], metric: str, split: str | None = None) -> dict[int, np.ndarray]:
    """Return a metric's value for each image, by seed, from outcomes or, in old folders, from kept predictions."""
    values = outcomes.by_seed(tables, rows, metric, split)
    return values or predictions.by_seed(tables, rows, metric, split)


def configuration_families(
    tables: Tables, construction: str, axes: Sequence[str]
) -> dict[Setting, list[Configuration]]:
    """Return the largest set of configurations that differ in `axes` alone, per (dataset, model).

    Raises Missing if no two configurations do.
    """
    groups: dict[Setting, dict[tuple[Any, ...], list[Configuration]]] = {}
    for configuration in configurations(tables):
        chosen = configuration.hyperparameters
        if configuration.construction == construction and all(axis in chosen for axis in axes):
            rest = tuple(sorted((name, str(value)) for name, value in chosen.items() if name not in axes))
            groups.setdefault(configuration.setting, {}).setdefault(rest, []).append(configuration)
    largest = {setting: max(by_rest.values(), key=len) for setting, by_rest in sorted(groups.items())}
    kept = {setting: family for setting, family in largest.items() if len(family) > 1}
    if not kept:
        raise Missing(f"no two {construction} configurations differ in {' and '.join(axes)} alone")
    return kept


def grid_cells(
    family: Sequence[Configuration], row: str, column: str, least: int = 2
) -> dict[tuple[Any, Any], Configuration]:
    """Return the part of a family that is a grid: `least` columns in every row, and two rows in every column.

    Keys are (row value, column value). A search draws no value twice and has no grid.
    """
    cells = {(c.hyperparameters[row], c.hyperparameters[column]): c for c in family}
    while True:
        rows, columns = Counter(r for r, _ in cells), Counter(c for _, c in cells)
        kept = {cell: c for cell, c in cells.items() if rows[cell[0]] >= least and columns[cell[1]] >= 2}
        if len(kept) == len(cells):
            return dict(sorted(kept.items()))
        cells = kept
