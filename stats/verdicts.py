"""Verdicts: decide from per-image shortfalls whether networks lie in one basin (yes, no or undecided).

A shortfall is the loss of an interpolated network below the chord between its ends on one image: accuracy points or
nats, positive where the path dips. The population is the images; the networks are taken as they are, so that a verdict
is about *these seeds*. "Yes" certifies the average pair, unless `every_pair` is set.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

from stats.least import least_number

MARGIN = 2.0
"""Accuracy points that a path may fall below its chord within one basin."""
LEVEL = 0.95
"""Confidence of each one-sided bound, and of the two-sided interval of the weakest cell."""
EACH_SIDE = (1 + LEVEL) / 2
"""Confidence of each end of a two-sided interval."""
WEIGHTS_AT_ONCE = 2_000_000
"""Bootstrap weights that are held in memory together."""
MANTISSA = 52
"""Bits of a sum that float64 holds exactly, without the leading one."""
CELLS_AT_ONCE = 512
"""Cells that are resampled together."""
MOST_IMAGES = 2**29
"""Above this many images a question counts as not decidable."""

Answer = Literal["yes", "no", "undecided"]
Array = NDArray[np.float64]


def loss_margin(classes: int) -> float:
    """Return the margin for losses, in nats: 2 % of the loss of guessing among `classes` classes.

    Raises ValueError if there are fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"a loss margin for {classes} classes: expected 2 or more")
    return 0.02 * math.log(classes)


@dataclass(frozen=True)
class Bounds:
    """Confidence bounds of the shortfall along the paths of some ensembles, each one-sided with 95 % confidence.

    `upper` bounds the average path and `lower` the worst single cell. They bound different quantities: `upper` may be
    below `lower`, which means that one pair is worse than the average allows.
    """

    upper: float
    """Largest upper bound over the path of the shortfall that is averaged over pairs and seeds."""
    lower: float
    """Largest lower bound over all cells seed × pair × alpha; the bounds hold for all cells at once."""
    weakest: tuple[int, int, int]
    """Seed, pair and alpha (their indices) of the cell with the largest mean shortfall, which is what barriers show.

    `lower` may come from another cell, whose shortfall is smaller and less noisy.
    """
    weakest_mean: float
    """Mean shortfall of that cell."""
    weakest_low: float
    weakest_high: float
    """Ends of its two-sided 95 % interval, which holds for all cells at once and so for the one that is picked."""
    seeds: int
    images: int
    averages: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    """Mean and variance over images of each averaged shortfall that must be below the margin."""
    leading: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    """Mean and variance over images of the cell with the largest lower bound."""
    quantile: float = field(default=0.0, repr=False)
    """Quantile of the max-t distribution for lower bounds."""
    extremes: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    """Values of the added image: for lower bounds, for upper bounds."""

    def needed_for(self, margin: float) -> int | None:
        """Return the number of images at which an answer is expected, if means and variances are as observed.

        None if no number of images is expected to decide: a mean lies at the margin, or values are not finite.
        """
        least = (least_number(partial(says, margin=margin), 1, MOST_IMAGES) for says in (self._says_yes, self._says_no))
        return min((images for images in least if images is not None), default=None)

    def _says_yes(self, images: int, margin: float) -> bool:
        means, variances = np.array(self.averages).reshape(-1, 2).T
        return bool(len(means)) and float(_upper_bounds(means, variances, images, self.extremes[1]).max()) < margin

    def _says_no(self, images: int, margin: float) -> bool:
        mean, error = _extended_mean(*self.leading, images, self.extremes[0])
        return bool(mean - self.quantile * error > margin)


@dataclass(frozen=True)
class Verdict:
    """An answer to whether networks lie in one basin, with the bounds it rests on."""

    answer: Answer
    bounds: Bounds
    margin: float
    needed: int | None
    """Images at which an undecided question is expected to be decided; None if decided, or if no number will do."""


def decide(bounds: Bounds, margin: float) -> Verdict:
    """Compare the bounds with the margin."""
    decision = answer(bounds.upper, bounds.lower, margin)
    return Verdict(decision, bounds, margin, bounds.needed_for(margin) if decision == "undecided" else None)


def answer(upper: float, lower: float, margin: float) -> Answer:
    """Return "no" if lower > margin (so that one bad pair is not averaged away), else "yes" if upper < margin."""
    if lower > margin:
        return "no"
    return "yes" if upper < margin else "undecided"


def bounds(
    shortfalls: ArrayLike, *, worst: float | None, every_pair: bool = False, resamples: int = 1000, seed: int = 0
) -> Bounds:
    """Bound the shortfall on the paths of ensembles from its values [seeds, pairs, alphas, images], ends left out.

    Upper bound: averaged over pairs and seeds per image (seeds share the test images), one image with the value
    `worst` added, Student's one-sided bound of the mean, maximum over alpha. All alphas must pass, which needs no
    correction for their number (intersection-union test). The added image keeps the error rate where few images carry
    the whole dip: 2 of 256 images prove little. `every_pair` averages nothing: each pair of each seed must pass.

    Lower bound: studentised max-t bootstrap over all cells, images resampled jointly, with one image of the value
    −`worst` added to each cell, so that a cell without variance proves no more than its number of images allows.

    Weakest cell: the one with the largest mean. Its interval has a lower and an upper bound of the same bootstrap, each
    with 97.5 % confidence for all cells at once.

    `worst` is 100 for accuracy points. None takes the extremes of the given values, over all seeds, pairs and alphas
    before they are averaged: for losses, which have no bound,
    so that an error rate is promised only as far as the images show the largest of them.
    Values that are not finite make the upper bound infinite; in lower bounds they count as the least that they can be.
    Raises ValueError for another shape, nothing to bound, or a `worst` that is not a positive number.
    """
    cells = np.asarray(shortfalls, dtype=np.float64)
    if cells.ndim != 4 or cells.size == 0:
        raise ValueError(f"shortfalls of shape {cells.shape}: expected [seeds, pairs, alphas, images], none of them 0")
    if worst is not None and not 0 < worst < math.inf:
        raise ValueError(f"worst={worst}: expected a positive number, or None for the extremes of the values")
    seeds, pairs, alphas, images = cells.shape
    finite = bool(np.isfinite(cells).all())
    cells = cells if finite else _clip_infinite(cells, worst)
    averaged = cells.reshape(-1, images) if every_pair else cells.mean(axis=(0, 1))
    extremes = (min(cells.min(), 0.0), max(cells.max(), 0.0)) if worst is None else (-worst, worst)
    means, variances = averaged.mean(axis=1), averaged.var(axis=1)
    flat = cells.reshape(-1, images)
    cell_means, cell_variances = flat.mean(axis=1), flat.var(axis=1)
    above, below = _max_t(flat - cell_means[:, None], cell_means, extremes, resamples, seed)
    quantile = _max_t_quantile(above, LEVEL, images)
    lows = _bound_means(cell_means, cell_variances, images, extremes[0], -quantile)
    weakest, leading = int(cell_means.argmax()), int(lows.argmax())
    mean, variance = float(cell_means[weakest]), float(cell_variances[weakest])
    low, high = (
        float(_bound_means(mean, variance, images, end, sign * _max_t_quantile(drawn, EACH_SIDE, images)))
        for end, sign, drawn in zip(extremes, (-1, 1), (above, below), strict=True)
    )
    place = np.unravel_index(weakest, (seeds, pairs, alphas))
    return Bounds(
        upper=float(_upper_bounds(means, variances, images, extremes[1]).max()) if finite else math.inf,
        lower=float(lows[leading]),
        weakest=(int(place[0]), int(place[1]), int(place[2])),
        weakest_mean=mean,
        weakest_low=low,
        weakest_high=high if finite else math.inf,
        seeds=seeds,
        images=images,
        averages=tuple(zip(means.tolist(), variances.tolist(), strict=True)) if finite else (),
        leading=(float(cell_means[leading]), float(cell_variances[leading])),
        quantile=quantile,
        extremes=extremes,
    )


def _clip_infinite(cells: Array, worst: float | None) -> Array:
    """Replace +inf by the largest value that it certainly exceeds, and −inf and NaN by the smallest value there is."""
    known = cells[np.isfinite(cells)]
    low, high = (-worst, worst) if worst is not None else (known.min(initial=0.0), known.max(initial=0.0))
    return np.nan_to_num(cells, nan=low, posinf=high, neginf=low)


def _extended_mean(mean: ArrayLike, variance: ArrayLike, images: ArrayLike, value: float) -> tuple[Array, Array]:
    """Return the mean, and its standard error, of `images` values of that mean and variance and one further value."""
    n, apart = np.asarray(images, dtype=np.float64), value - np.asarray(mean)
    squares = n * np.asarray(variance) + apart**2 * n / (n + 1)
    return np.asarray(mean) + apart / (n + 1), np.sqrt(np.maximum(squares, 0.0) / n / (n + 1))


def _bound_means(means: ArrayLike, variances: ArrayLike, images: int, value: float, errors: float) -> Array:
    """Return means with one image of this value added, moved by so many standard errors."""
    mean, error = _extended_mean(means, variances, images, value)
    return np.asarray(mean + errors * error)


def _upper_bounds(means: Array, variances: Array, images: int, value: float) -> Array:
    return _bound_means(means, variances, images, value, float(stdtrit(images, LEVEL)))


def _max_t(
    centred: Array, means: Array, extremes: tuple[float, float], resamples: int, seed: int
) -> tuple[Array, Array]:  # fmt: skip
    """Draw the largest studentised deviation over cells, upwards and downwards.

    Deviations are free of the scale: a power of two changes no bit and keeps squares of large losses finite. Values and
    squares are rounded so that every sum is exact: neither threads nor the processor change a bit of the result.
    """
    scale = 2.0 ** math.frexp(max(np.abs(centred).max(), np.abs(means).max(), *map(abs, extremes)))[1]
    centred, means, extremes = centred / scale, means / scale, (extremes[0] / scale, extremes[1] / scale)
    rng, images = np.random.default_rng(seed), centred.shape[1]
    grid = 2.0 ** (MANTISSA - images.bit_length())
    largest = np.full((2, resamples), -np.inf)
    step = max(1, WEIGHTS_AT_ONCE // images)
    for start in range(0, resamples, step):
        weights = _bootstrap_weights(rng, min(step, resamples - start), images)
        for begin in range(0, len(centred), CELLS_AT_ONCE):
            chosen = slice(begin, begin + CELLS_AT_ONCE)
            values = np.rint(centred[chosen].T * grid) / grid
            squares = np.rint(values**2 * grid) / grid
            moved = weights @ values / images
            variances = np.maximum(weights @ squares / images - moved**2, 0.0)
            for row, (sign, end) in enumerate(zip((1, -1), extremes, strict=True)):
                _, error = _extended_mean(means[chosen] + moved, variances, images, end)
                shift = sign * moved * images / (images + 1)
                drawn = np.divide(shift, error, out=np.zeros_like(shift), where=error > 0).max(axis=1)
                part = largest[row, start : start + step]
                np.maximum(part, drawn, out=part)
    return largest[0], largest[1]


def _bootstrap_weights(rng: np.random.Generator, resamples: int, images: int) -> Array:
    """Draw how often each image is in each resample."""
    drawn = rng.integers(images, size=(resamples, images)) + images * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images).astype(np.float64)


def _max_t_quantile(drawn: Array, level: float, images: int) -> float:
    """Return the value that at most 1 − level of the draws, and of one more, exceed.

    It is at least that of a single cell: of cells without variance a bootstrap has nothing to say.
    """
    ordered = np.sort(drawn)
    quantile = ordered[min(len(ordered), math.ceil(level * (len(ordered) + 1))) - 1]
    return max(float(quantile), float(stdtrit(images, level)))
