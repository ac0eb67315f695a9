"""Paired differences, with intervals over seeds and, where predictions are kept, over test images."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from analysis.errors import Missing
from analysis.predictions import by_seed
from analysis.queries import Configuration, Tables
from analysis.statistics import Estimate, Share, mean_interval

RESAMPLES = 1000
CHUNK = 50
"""Resamples whose images are drawn at once."""


def difference(tables: Tables, x: Configuration, y: Configuration, metric: str) -> Estimate | None:
    """Paired difference x − y of a metric on the reported split; None if either lacks it or they share no seed."""
    found = samples(tables, [x, y], metric)
    if found is None:
        return None
    values = found[0] - found[1]
    return mean_interval(values[:, 0]) if values.shape[1] == 1 else estimate_over_images(values)


def samples(tables: Tables, compared: Sequence[Configuration], metric: str) -> list[np.ndarray] | None:
    """Values [seeds, images] of each configuration, of the seeds that all have; None without a common seed.

    One column, the metric itself, where it is no mean over images or a trial keeps no predictions.
    """
    images = [by_seed(tables, configuration, metric) for configuration in compared]
    seeds = [c.by_seed(column) for c in compared if (column := _column(tables, c, metric))]
    if len(seeds) < len(compared):
        return None
    common = sorted(set.intersection(*map(set, seeds)))
    if not common:
        return None
    lengths = {len(kept[seed]) if seed in kept else 1 for kept in images for seed in common}
    if len(lengths) == 1 and lengths != {1}:
        return [np.array([kept[seed] for seed in common]) for kept in images]
    return [np.array([[values[seed]] for seed in common], dtype=float) for values in seeds]


def _column(tables: Tables, configuration: Configuration, metric: str) -> str | None:
    try:
        return tables.column(metric, configuration.rows)
    except Missing:
        return None


def estimate_over_images(values: np.ndarray, level: float = 0.95) -> Estimate:
    """Mean of [seeds, images] with its interval over both; none for one seed."""
    seeds, images = values.shape
    half = None if seeds == 1 else quantile(values, level) * math.sqrt(covariance(values[None])[0, 0])
    return Estimate(float(values.mean()), half, seeds, images)


def covariance(values: np.ndarray) -> np.ndarray:
    """Covariance of the means of [quantities, seeds, images], as seeds and images would be drawn anew.

    The sum of S/n over n seeds (each the mean of its images) and of the covariance over bootstrap draws of the images,
    the same for every seed. Seeds are not resampled: from three of them a bootstrap has 10 distinct draws, and its
    intervals hold the truth far less often than they say (a test measures it).
    """
    over_seeds, over_images = _parts(values)
    return np.asarray(over_seeds + over_images)


def quantile(values: np.ndarray, level: float = 0.95) -> float:
    """Student's t of [seeds, images], with the degrees of freedom of Satterthwaite (1946) for the sum of both parts."""
    seeds, images = values.shape
    over_seeds, over_images = (float(part[0, 0]) for part in _parts(values[None]))
    total = over_seeds + over_images
    if total == 0 or images == 1:
        return float(stdtrit(seeds - 1, (1 + level) / 2))
    freedom = total**2 / (over_seeds**2 / (seeds - 1) + over_images**2 / (images - 1))
    return float(stdtrit(freedom, (1 + level) / 2))


def _parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    over_seeds = np.atleast_2d(np.cov(values.mean(axis=2))) / values.shape[1]
    if values.shape[2] == 1:
        return over_seeds, np.zeros_like(over_seeds)
    return over_seeds, np.atleast_2d(np.cov(resampled(values.mean(axis=1))))


def resampled(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means [quantities, resamples] of [quantities, images] over images drawn with replacement, alike for all rows."""
    rng = np.random.default_rng(seed)
    images = values.shape[1]
    chunks = [min(CHUNK, resamples - start) for start in range(0, resamples, CHUNK)]
    return np.concatenate([values[:, rng.integers(images, size=(n, images))].mean(axis=2) for n in chunks], axis=1)


def share_closed(
    tables: Tables, *, low: Configuration, between: Configuration, high: Configuration, metric: str
) -> Share | None:  # fmt: skip
    """Which share of the gap from `low` to `high` the configuration `between` closes: (b − l)/(h − l).

    None without a common seed.
    """
    found = samples(tables, [low, between, high], metric)
    if found is None:
        return None
    part, gap = found[1] - found[0], found[2] - found[0]
    seeds, images = gap.shape
    ratio = float(part.mean()) / float(gap.mean()) if gap.mean() else None
    return Share(ratio, fieller(part, gap) if seeds > 1 and ratio is not None else None, seeds, images)


def fieller(part: np.ndarray, gap: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Ends of the interval of r = mean(part)/mean(gap), both [seeds, images] (Fieller 1954).

    It holds every r for which part − r·gap does not differ from 0. Where the gap itself may be 0 it has no ends: None.
    """
    a, b = float(part.mean()), float(gap.mean())
    v = quantile(part - a / b * gap, level) ** 2 * covariance(np.stack([part, gap]))
    square, linear, constant = b * b - v[1, 1], a * b - v[0, 1], a * a - v[0, 0]
    if square <= 0:
        return None
    root = math.sqrt(max(linear * linear - square * constant, 0.0))
    return (linear - root) / square, (linear + root) / square
