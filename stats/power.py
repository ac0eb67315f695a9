"""Power: how narrow an interval so many seeds and images give, and how many seeds show a difference.

The model is that of `stats.intervals`: a paired difference between two ensembles is μ + seed + image + rest, each with
a variance of its own. Pilot results give the variances; any number of seeds and images follows from them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, ndtr, stdtrit  # type: ignore[import-untyped]

from stats.intervals import LEVEL, Spread, spread
from stats.least import least_number

ENOUGH = 0.8
"""Power at which a study counts as large enough."""
MIDPOINTS = (np.arange(2000) + 0.5) / 2000
"""Probabilities at which the distribution of a standard error is taken."""
MOST_SEEDS = 10_000
"""Above this many seeds a difference counts as out of reach with these images."""
MOST_IMAGES = 10**7
"""Above this many images it counts as out of reach with these seeds."""


@dataclass(frozen=True)
class Components:
    """Variances of a paired difference, in the square of its unit."""

    seeds: float
    """Between seeds, the same for all images."""
    images: float
    """Between images, the same for all seeds."""
    rest: float
    """Of one image of one seed, beside these: their interaction."""

    def mean_squares(self, seeds: int, images: int) -> Spread:
        """Return the mean squares to expect of so many seeds and images. Raises ValueError for fewer than 2 seeds."""
        if seeds < 2 or images < 1:
            raise ValueError(f"{seeds} seeds and {images} images: expected 2 or more, and 1 or more")
        both = self.rest / (seeds * images)
        parts = [self.seeds / seeds + both, self.images / images + both, both]
        if images == 1:  # a number of each seed, without images
            parts[1:] = [0.0, 0.0]
        n, m = seeds - 1, images - 1
        first, second, third = (np.full((1, 1), part) for part in parts)
        return Spread(first, second, third, (n, m, n * m))


@dataclass(frozen=True)
class Design:
    """What a number of seeds and images can show."""

    seeds: int
    images: int
    half: float
    """Half width of the 95 % interval to expect, in the unit of the difference."""
    power: float
    """Probability that the interval excludes 0."""


def estimate_components(differences: ArrayLike) -> Components | None:
    """Estimate the variances from paired differences [seeds, images] of a pilot; None for one seed.

    Mean squares less that of the interaction, at least 0. One column is a difference over seeds alone. Raises
    ValueError for another shape.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"differences of shape {values.shape}: expected [seeds, images], neither of them 0")
    seeds, images = values.shape
    if seeds < 2 or not np.isfinite(values).all():
        return None
    squares = spread(values[None])
    by_seed, by_image, both = (float(part[0, 0]) for part in (squares.seeds, squares.images, squares.both))
    return Components(max(by_seed - both, 0.0) * seeds, max(by_image - both, 0.0) * images, both * seeds * images)


def judge_design(components: Components, difference: float, seeds: int, images: int, level: float = LEVEL) -> Design:
    """Return the half width and the power for a true difference, by the non-central t distribution.

    Degrees of freedom are those of the interval (`Spread.variance`). Raises ValueError for fewer than 2 seeds.
    """
    squares = components.mean_squares(seeds, images)
    variance, freedom = squares.variance()
    if variance <= 0:
        return Design(seeds, images, 0.0, float(difference != 0))
    quantile, shift = float(stdtrit(freedom, (1 + level) / 2)), abs(difference) / math.sqrt(variance)
    return Design(seeds, images, squares.half(level=level), _exceeds(quantile, shift, freedom))


def _exceeds(quantile: float, shift: float, freedom: float) -> float:
    """Return the probability that |t| > quantile, for a non-central t: the mean over quantiles of its standard error.

    SciPy's `nctdtr` is NaN for many a shift above 8.
    """
    scale = np.sqrt(gammaincinv(freedom / 2, MIDPOINTS) * 2 / freedom)
    return float(np.mean(ndtr(shift - quantile * scale) + ndtr(-shift - quantile * scale)))


def seeds_needed(components: Components, difference: float, images: int) -> int | None:
    """Return the least number of seeds, from 2 on, that shows a true difference.

    None if `MOST_SEEDS` do not: the images are too few. Raises ValueError for a difference of 0.
    """
    return least_number(lambda seeds: _shows(components, difference, seeds, images), 2, MOST_SEEDS)


def images_needed(components: Components, difference: float, seeds: int) -> int | None:
    """Return the least number of images that shows a true difference; None if `MOST_IMAGES` do not.

    Raises ValueError for a difference of 0.
    """
    return least_number(lambda images: _shows(components, difference, seeds, images), 2, MOST_IMAGES)


def _shows(components: Components, difference: float, seeds: int, images: int) -> bool:
    if not difference:
        raise ValueError("a difference of 0: expected one that can be shown")
    return judge_design(components, difference, seeds, images).power >= ENOUGH
