"""How many members of a deep ensemble an ensemble is worth, by the deep ensembles of several sizes in the results."""

import math
from collections.abc import Mapping
from itertools import pairwise

from analysis.errors import Missing
from analysis.queries import Configuration, Tables, configurations, estimate, recipe, shared_names

LIKELIHOOD = "calibrated_log_likelihood"
Worth = tuple[float, float]
"""The least and the most members it can be worth: equal where the curve reaches, (8, inf) beyond eight."""


def curve(tables: Tables, like: Configuration) -> dict[int, float]:
    """Members → calibrated log-likelihood of deep ensembles like this one, means over seeds, on the reported split.

    Raises Missing if the results hold fewer than two sizes.
    """
    points: dict[int, tuple[int, float]] = {}
    for deep in deep_like(tables, like):
        found, size = estimate(tables, deep, LIKELIHOOD), deep.hyperparameters.get("members")
        if found and size and found.n > points.get(size, (0, 0.0))[0]:
            points[size] = found.n, found.mean
    if len(points) < 2:
        raise Missing(f"deep ensembles of two sizes or more are needed as a measure, found {len(points)}")
    return {size: mean for size, (_, mean) in sorted(points.items())}


def deep_like(tables: Tables, like: Configuration) -> list[Configuration]:
    """Deep ensembles of the same recipe, whatever their number of members."""
    found = [c for c in configurations(tables) if (c.dataset, c.model) == (like.dataset, like.model)]
    names = [name for name in shared_names(found) if name != "members"]
    return [c for c in found if c.construction == "deep" and recipe(c, names) == recipe(like, names)]


def worth(tables: Tables, configuration: Configuration) -> Worth | None:
    """Its deep-ensemble equivalent by the mean over seeds; None without its likelihood or without a curve."""
    found = estimate(tables, configuration, LIKELIHOOD)
    try:
        return None if found is None else equivalent(found.mean, curve(tables, configuration))
    except Missing:
        return None


def equivalent(value: float, points: Mapping[int, float]) -> Worth:
    """The least real number of members at which the curve reaches `value` (DEE of Ashukha 2020, section 5).

    Straight lines between sizes; where the curve falls (noise), the first crossing. Beyond an end of it: (largest, inf)
    or (0, smallest).
    """
    sizes = sorted(points.items())
    smallest, start = sizes[0]
    if value <= start:
        return (smallest, smallest) if value == start else (0.0, smallest)
    for (fewer, low), (more, high) in pairwise(sizes):
        if value <= high:
            members = max(fewer, more - (more - fewer) * (high - value) / (high - low))
            return members, members
    return sizes[-1][0], math.inf


def in_text(found: Worth | None) -> str | None:
    """`3.42`, `> 8`, `< 1`."""
    if found is None:
        return None
    least, most = found
    return f"{least:.2f}" if least == most else f"> {least:g}" if most == math.inf else f"< {most:g}"
