"""Verdicts for the report: decide from the outcomes of all seeds, with the reader's margin, by `stats.verdicts`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis.data.outcomes import By, trial_shortfalls
from analysis.data.queries import Configuration
from analysis.data.results import Row, Tables
from stats.verdicts import MARGIN, Bounds, Verdict, bounds, decide, loss_margin
from sweeps.storage.outcomes import Shortfalls

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "fashion-mnist": 10, "tiny-imagenet": 200}
"""Classes of the datasets whose rows do not say how many they have."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Judgement:
    """A verdict, its subject, and the cell with the largest loss."""

    verdict: Verdict
    by: By
    hull: bool
    seed: int
    """Seed of the weakest cell."""
    weakest: str
    """Members and α of that cell, or its point of the hull."""

    @property
    def unit(self) -> str:
        """Unit of bounds and margin."""
        return "points" if self.by == "accuracy" else "nats"

    @property
    def digits(self) -> int:
        """Digits with which bounds are shown."""
        return 1 if self.by == "accuracy" else 3


def find_verdict(
    tables: Tables, configuration: Configuration, by: By = "accuracy", hull: bool = False, split: str | None = None,
    every_pair: bool = False, margin: float | None = None,
) -> Verdict | None:  # fmt: skip
    """Decide from the outcomes of all seeds; None without outcomes."""
    judgement = judge_configuration(
        tables, configuration, by=by, hull=hull, split=split, every_pair=every_pair, margin=margin
    )
    return None if judgement is None else judgement.verdict


def judge_configuration(
    tables: Tables, configuration: Configuration, *, by: By = "accuracy", hull: bool = False,
    split: str | None = None, every_pair: bool = False, margin: float | None = None,
) -> Judgement | None:  # fmt: skip
    """Decide from the outcomes of all seeds and name the weakest cell.

    It is the verdict that the sweep recorded where that is current and has the same margin, and else computed. None
    without outcomes, too.
    """
    limit = margin_of(tables, configuration.rows, by) if margin is None else margin
    split = split or tables.split
    if limit is None:
        return None
    if not every_pair and (recorded := _recorded_judgement(tables, configuration, by, hull, split, limit)):
        return recorded
    joint = _joint_bounds(tables, tuple(configuration.keys), by, hull, split, every_pair)
    if joint is None:
        return None
    limits, named = joint
    seed, pair, alpha = limits.weakest
    return Judgement(decide(limits, limit), by, hull, *named[seed][pair][alpha])


def _recorded_judgement(
    tables: Tables, configuration: Configuration, by: By, hull: bool, split: str, margin: float
) -> Judgement | None:  # fmt: skip
    """Return the judgement of the same trials in `verdicts.json`; None without one, and for another margin."""
    entry = tables.recorded_verdict(configuration.keys) or {}
    recorded = (entry.get(split) or {}).get("hull" if hull else by)
    finished = str(max((row["finished_at"] for row in configuration.rows if row.get("finished_at")), default=""))
    if not recorded or entry.get("finished") != finished or not math.isclose(recorded["margin"], margin):
        return None
    weakest = recorded["weakest"]
    limits = Bounds(
        upper=_number(recorded["upper"], math.inf),
        lower=_number(recorded["lower"], -math.inf),
        weakest=(0, 0, 0),
        weakest_mean=_number(weakest["mean"], -math.inf),
        weakest_low=_number(weakest["low"], -math.inf),
        weakest_high=_number(weakest["high"], math.inf),
        seeds=len(entry["seeds"]),
        images=recorded["images"],
    )
    verdict = Verdict(recorded["answer"], limits, margin, recorded["needed"])
    return Judgement(verdict, by, hull, weakest["seed"], _recorded_cell(weakest))


def _recorded_cell(weakest: Row) -> str:
    """Name a network as `_cell_names` does."""
    if "point" in weakest:
        point = weakest["point"]
        return "the centroid" if point == "centroid" else f"random point {point}"
    i, j = weakest["pair"]
    return f"members {i} and {j} at α = {weakest['alpha']:.2g}"


def _number(value: float | None, otherwise: float) -> float:
    """Return a number of a JSON file, which has null for one that is not finite."""
    return otherwise if value is None else float(value)


def in_one_basin(tables: Tables, configuration: Configuration, split: str | None = None) -> bool:
    """Tell whether a configuration is in one basin by accuracy: certified, not merely undecided."""
    verdict = find_verdict(tables, configuration, split=split)
    return verdict is not None and verdict.answer == "yes"


def verdict_word(verdict: Verdict | None) -> str:
    """Format a verdict for a table: `yes`, `no`, `undecided` or `not measured`."""
    return NOT_MEASURED if verdict is None else verdict.answer


def margin_of(tables: Tables, rows: Sequence[Row], by: By) -> float | None:
    """Return the margin of these trials: the reader's, else their study's, else 2 points.

    For losses, the same share of guessing's loss, ln(classes), as of 100 points of accuracy; None if the number of
    classes is unknown.
    """
    given = (row["margin"] for row in rows if row.get("margin") is not None)
    points = float(tables.margin if tables.margin is not None else next(given, MARGIN))
    if by == "accuracy":
        return points
    classes = next((row["classes"] for row in rows if row.get("classes")), CLASSES.get(rows[0]["dataset"]))
    return None if classes is None else points / MARGIN * loss_margin(int(classes))


Named = list[list[list[tuple[int, str]]]]
"""Seed and name of every cell, [seeds, pairs, α]."""


@lru_cache(maxsize=1024)
def _joint_bounds(
    tables: Tables, keys: tuple[str, ...], by: By, hull: bool, split: str, every_pair: bool
) -> tuple[Bounds, Named] | None:  # fmt: skip
    seeds = {row["key"]: row["seed"] for row in tables.rows}
    by_key = {key: trial_shortfalls(tables, key, by=by, hull=hull, split=split) for key in keys}
    kept = {key: shortfalls for key, shortfalls in by_key.items() if shortfalls is not None}
    if not kept or len({shortfalls.values.shape for shortfalls in kept.values()}) > 1:
        return None
    named = [_cell_names(shortfalls, hull, seeds[key]) for key, shortfalls in kept.items()]
    cells = np.array([shortfalls.values for shortfalls in kept.values()], dtype=float)
    return bounds(cells, worst=100.0 if by == "accuracy" else None, every_pair=every_pair), named


def _cell_names(shortfalls: Shortfalls, hull: bool, seed: int) -> list[list[tuple[int, str]]]:
    """Return the seed and the name of each network, [pairs, α]."""
    names = []
    for i, j in shortfalls.pairs:
        if hull:
            named = [f"random point {j}" if alpha else "the centroid" for alpha in shortfalls.alphas]
        else:
            named = [f"members {i} and {j} at α = {alpha:.2g}" for alpha in shortfalls.alphas]
        names.append([(seed, name) for name in named])
    return names
