"""Paired differences between configurations, over seeds and, where outcomes are kept, over images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.data.queries import Configuration, Tables, image_values, scores_by_seed
from stats import intervals
from stats.intervals import Estimate, Share


def paired_difference(
    tables: Tables, x: Configuration, y: Configuration, metric: str, other: str | None = None
) -> Estimate | None:  # fmt: skip
    """Return the paired difference of x's metric and y's (or its metric `other`).

    None if either lacks it or they share no seed.
    """
    values = paired_samples(tables, [x, y], [metric, other or metric])
    return None if values is None else estimate_values(values[0] - values[1])


def share_closed(
    tables: Tables, *, low: Configuration, between: Configuration, high: Configuration, metric: str
) -> Share | None:  # fmt: skip
    """Return the share of the gap from `low` to `high` that `between` closes; None without a common seed."""
    values = paired_samples(tables, [low, between, high], [metric] * 3)
    return None if values is None else intervals.share_closed(values[1] - values[0], values[2] - values[0])


def estimate_values(values: np.ndarray) -> Estimate | None:
    """Return the mean of [seeds, images] with its interval: over both, or over seeds alone for one column."""
    return intervals.mean_interval(values[:, 0]) if values.shape[1] == 1 else intervals.estimate(values)


def paired_samples(
    tables: Tables, compared: Sequence[Configuration], metrics: Sequence[str]
) -> list[np.ndarray] | None:  # fmt: skip
    """Return the values [seeds, images] of each configuration's metric, for the seeds that all have in common.

    One column, the metric itself, if a trial stores no outcomes or the metric is not a mean over images. None without a
    common seed.
    """
    pairs = list(zip(compared, metrics, strict=True))
    seeds = [scores_by_seed(tables, c, metric) for c, metric in pairs]
    common = sorted(set.intersection(*map(set, seeds)))
    if not common:
        return None
    kept = [image_values(tables, c.rows, metric) for c, metric in pairs]
    if same_images(kept, common):
        return [_stack_seeds(values, common) for values in kept]
    return [_stack_seeds(values, common)[:, None] for values in seeds]


def same_images(kept: Sequence[Mapping[int, np.ndarray]], seeds: Sequence[int]) -> bool:
    """Tell whether all of them have values of equally many images for every seed."""
    lengths: set[int] = set()
    for values in kept:
        lengths |= {len(values[seed]) if seed in values else 1 for seed in seeds}
    return len(lengths) == 1 and lengths != {1}


def _stack_seeds(values: Mapping[int, Any], seeds: Sequence[int]) -> np.ndarray:
    return np.array([values[seed] for seed in seeds], dtype=float)
