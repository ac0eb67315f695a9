"""Deep-ensemble equivalent (DEE): the size of the deep ensemble that is as good as an ensemble."""

import math

import numpy as np

from analysis.constructions import REFERENCE, facts
from analysis.data import outcomes
from analysis.data.outcomes import LIKELIHOOD
from analysis.data.queries import Configuration, Tables, deep_ensembles, mean_metric
from stats.equivalent import Equivalent, deep_ensemble_equivalent, equivalent_interval

PerSize = dict[int, dict[int, np.ndarray]]
"""Number of members → seed → calibrated log-likelihood of each image."""


def deep_equivalent(tables: Tables, configuration: Configuration) -> Equivalent | None:
    """Return the deep-ensemble equivalent by calibrated log-likelihood; None without a curve to measure by.

    With outcomes it has an interval over seeds and images. Folders without outcomes need deep ensembles of two sizes or
    more, and give no interval.
    """
    kept = outcomes.by_seed(tables, configuration.rows, LIKELIHOOD)
    sizes = deep_curve(tables, configuration)
    if len(kept) == len(configuration.rows) and len(sizes) > 1:
        return _with_interval(kept, sizes)
    value, points = mean_metric(tables, configuration, LIKELIHOOD), _mean_by_size(tables, configuration)
    return None if value is None or len(points) < 2 else deep_ensemble_equivalent(value, points)


def deep_curve(tables: Tables, like: Configuration) -> PerSize:
    """Return the curve of the largest deep ensemble of the same recipe, from subsets of its members.

    All sizes have the same seeds. Empty without outcomes.
    """
    curves = [outcomes.by_size(tables, deep.rows, LIKELIHOOD) for deep in deep_like(tables, like)]
    return max(curves, key=lambda sizes: (len(sizes), len(next(iter(sizes.values()), ()))), default={})


def deep_like(tables: Tables, like: Configuration) -> list[Configuration]:
    """Return the deep ensembles of the same recipe, whatever their number of members, the smallest first."""
    alike = deep_ensembles(tables, like, apart_from="members")
    return sorted(alike, key=lambda c: (c.hyperparameters.get("members", 0), len(c.rows)))


def worth_cell(tables: Tables, configuration: Configuration) -> str | None:
    """Return the text of a table cell. Deep ensembles, permuted or not, equal their own members by definition."""
    members, name = configuration.hyperparameters.get("members"), configuration.construction
    if name == REFERENCE or facts(name).aligned:
        return f"{members} ({'reference' if name == REFERENCE else f'as {REFERENCE}'})" if members else None
    return in_text(deep_equivalent(tables, configuration))


def in_text(equivalent: Equivalent | None) -> str | None:
    """Format an equivalent for a table: `3.42 (2.80 to > 4)`, `> 8`."""
    if equivalent is None:
        return None
    ends = interval_text(equivalent)
    return str(equivalent) if ends is None else f"{equivalent} ({ends})"


def interval_text(equivalent: Equivalent) -> str | None:
    """Format the ends of the interval: `2.80 to > 4`; None without one, and where its ends are the number itself."""
    if equivalent.ends is None or str(equivalent.ends[0]) == str(equivalent.ends[1]) == str(equivalent):
        return None
    return f"{equivalent.ends[0]} to {equivalent.ends[1]}"


def spell_out(equivalent: Equivalent) -> str:
    """Spell an equivalent out for a sentence: `a deep ensemble of 3.42 members`, `less than a single network`."""
    if equivalent.least == 0:
        size = "a single network" if equivalent.most == 1 else f"a deep ensemble of {equivalent.most:g} members"
        return f"less than {size}"
    if math.isinf(equivalent.most):
        return f"a deep ensemble of more than {equivalent.least:g} members"
    return f"a deep ensemble of {equivalent} members"


def confidence_words(equivalent: Equivalent) -> str | None:
    """Spell the interval out for a sentence: `between 1.07 and 3.20 members (95 % CI)`; None without one.

    An end beyond the curve is unknown and left out; if both are, the data do not narrow the equivalent down.
    """
    if equivalent.ends is None or interval_text(equivalent) is None:
        return None
    low, high = equivalent.ends
    below, above = low.least == 0, math.isinf(high.most)
    if below and above:
        return "these data do not narrow it down (the 95 % CI reaches beyond both ends of the curve)"
    if below:
        return f"at most {_end_words(high)} (95 % CI)"
    if above:
        return f"at least {_end_words(low)} (95 % CI)"
    return f"between {low} and {high} members (95 % CI)"


def _end_words(equivalent: Equivalent) -> str:
    """An end of an interval: `1 member`, `1.29 members`, `4 members`; the end of the curve where it is beyond."""
    value = equivalent.least or equivalent.most
    text = f"{value:g}" if value == int(value) else f"{value:.2f}"
    return f"{text} member{'' if value == 1 else 's'}"


def drawn_interval(equivalent: Equivalent) -> tuple[float, float] | None:
    """Return the part of the interval that lies on the curve, to be drawn; None without an interval."""
    return None if equivalent.ends is None else (on_curve(equivalent.ends[0]), on_curve(equivalent.ends[1]))


def on_curve(equivalent: Equivalent) -> float:
    """Return the number of members, or that of the end of the curve beyond which it lies."""
    return equivalent.least or equivalent.most


def _with_interval(likelihoods: dict[int, np.ndarray], sizes: PerSize) -> Equivalent | None:
    """Return the equivalent with its interval, paired by seed if all of its seeds are the curve's."""
    seeds = set(next(iter(sizes.values())))
    paired = set(likelihoods) <= seeds
    mine = np.array([likelihoods[seed] for seed in sorted(likelihoods)])
    deep = {
        size: np.array([by_seed[seed] for seed in sorted(set(likelihoods) if paired else seeds)])
        for size, by_seed in sizes.items()
    }
    if any(values.shape[1] != mine.shape[1] for values in deep.values()):
        return None
    return equivalent_interval(mine, deep, same_seeds=paired)


def _mean_by_size(tables: Tables, like: Configuration) -> dict[int, float]:
    """Return the means of deep ensembles by their number of members; of equal sizes the one with most seeds."""
    values = {c.hyperparameters.get("members", 0): mean_metric(tables, c, LIKELIHOOD) for c in deep_like(tables, like)}
    return {size: value for size, value in values.items() if size and value is not None}
