"""Confidence intervals of means over seeds and test images, of their differences and of their ratios.

One decision for every number of the project (decision 8): seeds and images are crossed random effects, and the interval
says how far a mean would move with other seeds *and* other images.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

LEVEL = 0.95
HALVINGS = 50
"""Bisections for an end that has no closed form."""

Array = NDArray[np.float64]
Numbers = ArrayLike | Mapping[int, float]


@dataclass(frozen=True)
class Estimate:
    """A mean and the half width of its interval, in the unit of the values."""

    mean: float
    half: float | None
    """None where it is unknown: one seed without images, or values that are not finite."""
    n: int
    """Seeds."""
    images: int = 1
    """Test images that the interval covers too; 1 if it is over seeds alone."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper end; None if the half width is unknown."""
        return None if self.half is None else (self.mean - self.half, self.mean + self.half)

    def format(self, digits: int, plus_minus: str = "±") -> str:
        """Return `95.30 ± 0.41`, or `95.30` alone where the half width is unknown; minus signs are true ones."""
        mean = f"{self.mean:.{digits}f}"
        mean = mean.lstrip("-") if float(mean) == 0 else mean.replace("-", "−")
        return mean if self.half is None else f"{mean} {plus_minus} {self.half:.{digits}f}"


@dataclass(frozen=True)
class Range:
    """Median and range of values over seeds, for quantities with a skew distribution such as wall time."""

    median: float
    low: float
    high: float

    def format(self, digits: int) -> str:
        """Return `5.6 (5.1 to 9.9)`."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def median_range(values: Iterable[float]) -> Range | None:
    """Return the median and the range; None without values."""
    known = sorted(values)
    return Range(float(np.median(known)), known[0], known[-1]) if known else None


@dataclass(frozen=True)
class Share:
    """A share of a gap that is closed (1: all of it), with its interval."""

    value: float | None
    """None if there is no gap."""
    interval: tuple[float, float] | None
    """None if the gap itself may be 0, or for one seed without images."""
    n: int
    images: int = 1


@dataclass(frozen=True)
class Spread:
    """Mean squares of q quantities, [q, q], each as a variance of the mean over seeds and images."""

    seeds: Array
    images: Array
    both: Array
    """Mean squares of the interaction of seeds and images."""
    freedom: tuple[float, float, float]
    """Their degrees of freedom."""

    def half(self, weights: ArrayLike = 1.0, level: float = LEVEL) -> float:
        """Half width of the interval of the weighted sum of the means."""
        variance, freedom = self.variance(weights)
        return float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance) if variance > 0 else 0.0

    def variance(self, weights: ArrayLike = 1.0) -> tuple[float, float]:
        """Variance of the weighted sum of the means, and its degrees of freedom; (0, inf) for values without noise.

        The variance is seeds + images − interaction, each component (seeds − interaction, images − interaction) at
        least 0. Degrees of freedom as of Satterthwaite (1946): a mean square above that of the interaction counts in
        full, one below half of it not at all, and in proportion between them, so that no tie decides the width.
        """
        w = np.broadcast_to(np.asarray(weights, dtype=np.float64), len(self.both))
        seeds, images, both = (max(float(w @ part @ w), 0.0) for part in (self.seeds, self.images, self.both))
        total = max(seeds - both, 0.0) + max(images - both, 0.0) + both
        counts = [min(max(2 * square / both - 1, 0.0), 1.0) if both > 0 else 1.0 for square in (seeds, images)]
        squares = zip((seeds, images, both), (*counts, 1.0), self.freedom, strict=True)
        spent = sum(count * square**2 / freedom for square, count, freedom in squares if freedom)
        return (total, total**2 / spent) if spent > 0 else (0.0, math.inf)


def mean_interval(values: Iterable[float], level: float = LEVEL) -> Estimate | None:
    """Return the mean over seeds with Student's t interval; None without values."""
    array = np.asarray(list(values), dtype=np.float64)
    return estimate(array[:, None], level) if len(array) else None


def mean_halves(values: ArrayLike, level: float = LEVEL) -> Array:
    """Return the half width of Student's t interval of each mean of [means, seeds], as of `mean_interval`.

    NaN where values are not finite, and for one seed. Raises ValueError for another shape, and without seeds.
    """
    array = _as_table(values) if np.size(values) else np.empty((0, 1))
    seeds = array.shape[1]
    if seeds == 1:
        return np.full(len(array), math.nan)
    with np.errstate(invalid="ignore"):
        deviations = array.std(axis=1, ddof=1)
    return np.asarray(stdtrit(seeds - 1, (1 + level) / 2) * deviations / math.sqrt(seeds))


def estimate(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Return the mean of [seeds, images] with its interval over both.

    Two-way random effects: Var = (MS_seeds + MS_images − MS_interaction) / (seeds · images), each variance component at
    least 0, so that the interaction counts once; Student's t with Satterthwaite's degrees of freedom. One seed: over
    images alone. One image (a number that is no mean over images): Student's t over seeds alone. Raises ValueError for
    another shape, and without values.
    """
    array = _as_table(values)
    seeds, images = array.shape
    mean = float(array.mean())
    if (seeds, images) == (1, 1) or not np.isfinite(array).all():
        return Estimate(mean, None, seeds, images)
    return Estimate(mean, spread(array[None]).half(level=level), seeds, images)


def _as_table(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"values of shape {array.shape}: expected [seeds, images], neither of them 0")
    return array


def estimate_by_seed(values: Mapping[int, float], images: Mapping[int, NDArray[Any]]) -> Estimate | None:
    """Return the mean over seeds of a metric, by seed, with its interval; None without values.

    The interval is over seeds and images where `images` has the values of the same images for every seed, else over
    seeds alone. The mean is that of `values`: values per image are rounded to float16.
    """
    if values and images.keys() >= values.keys() and len({len(images[seed]) for seed in values}) == 1:
        crossed = estimate(np.array([images[seed] for seed in sorted(values)], dtype=float))
        return replace(crossed, mean=sum(values.values()) / len(values))
    return mean_interval(values.values())


def estimate_resampled(values: ArrayLike, resamples: ArrayLike, images: int, level: float = LEVEL) -> Estimate:
    """Return the mean of a number per seed that is no mean over images (ECE), with its interval over both.

    `values` [seeds] are of the images as they are, `resamples` [resamples, seeds] of images drawn with replacement, the
    same for all seeds. Their variances take the place of the mean squares of images and interaction in `estimate`.
    Raises ValueError for other shapes, and for fewer than two resamples.
    """
    means, drawn = np.asarray(values, dtype=np.float64), np.asarray(resamples, dtype=np.float64)
    if means.ndim != 1 or drawn.shape[1:] != means.shape or not means.size or len(drawn) < 2:
        raise ValueError(f"values of {means.shape}, resamples of {drawn.shape}: expected [seeds], [2 or more, seeds]")
    seeds, mean = len(means), float(means.mean())
    if not (np.isfinite(means).all() and np.isfinite(drawn).all()) or (seeds, images) == (1, 1):
        return Estimate(mean, None, seeds, images)
    n, averages = seeds - 1, drawn.mean(axis=1)
    by_seed = means.var(ddof=1) / seeds if n else 0.0
    both = (drawn - averages[:, None]).var(axis=0, ddof=1).sum() / n / seeds if n else 0.0
    first, second, third = (np.full((1, 1), part) for part in (by_seed, averages.var(ddof=1), both))
    squares = Spread(first, second, third, (n, images - 1, n * (images - 1)))
    return Estimate(mean, squares.half(level=level), seeds, images)


def spread(values: Array) -> Spread:
    """Return the mean squares of [quantities, seeds, images], whose seeds and images are the same for all."""
    count, seeds, images = values.shape
    n, m = seeds - 1, images - 1
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    rows, columns = centred.mean(axis=2), centred.mean(axis=1)
    none = np.zeros((count, count))
    by_seed = rows @ rows.T / n / seeds if n else none
    by_image = columns @ columns.T / m / images if m else none
    if not (n and m):
        return Spread(by_seed, by_image, none, (n, m, 0))
    rest = (centred - rows[:, :, None] - columns[:, None]).reshape(count, -1)
    return Spread(by_seed, by_image, rest @ rest.T / (n * m) / (seeds * images), (n, m, n * m))


def spread_apart(first: Array, second: Array) -> Spread:
    """Return the mean squares of two groups of quantities with different seeds and the same images.

    Seeds of different groups are independent. The degrees of freedom are those of the group with fewer seeds.
    """
    from scipy.linalg import block_diag  # type: ignore[import-untyped]

    groups = [spread(values) for values in (first, second)]
    seeds, both = (block_diag(*(getattr(group, name) for group in groups)) for name in ("seeds", "both"))
    columns = np.concatenate([values.mean(axis=1) for values in (first, second)])
    images = np.cov(columns) / columns.shape[1] if columns.shape[1] > 1 else np.zeros_like(both)
    return Spread(seeds, images, both, min(group.freedom for group in groups))


def paired(x: Numbers, y: Numbers, level: float = LEVEL) -> Estimate | None:
    """Return x − y with its interval: of two arrays [seeds, images], or of two mappings from seeds to numbers.

    Rows of the arrays are of the same seeds, and columns of the same images. Of mappings the seeds in common are
    compared; None if there are none. Raises ValueError for different shapes.
    """
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        return mean_interval((x[seed] - y[seed] for seed in sorted(x.keys() & y.keys())), level)
    return estimate(np.subtract(*_matching_tables(x, y)), level)


def _matching_tables(x: object, y: object) -> tuple[Array, Array]:
    a, b = _as_table(x), _as_table(y)  # type: ignore[arg-type]
    if a.shape != b.shape:
        raise ValueError(f"paired values of shapes {a.shape} and {b.shape}: expected the same seeds and images")
    return a, b


def welch(x: Estimate, y: Estimate, level: float = LEVEL) -> Estimate | None:
    """Return y − x of different seeds, with the interval of Welch (1947); None if either has none.

    Both intervals must be over seeds alone and have that level.
    """
    if x.half is None or y.half is None or x.n < 2 or y.n < 2:
        return None
    a, b = ((e.half / float(stdtrit(e.n - 1, (1 + level) / 2))) ** 2 for e in (x, y) if e.half is not None)
    fewer = min(x.n, y.n)
    if a + b == 0:
        return Estimate(y.mean - x.mean, 0.0, fewer)
    freedom = (a + b) ** 2 / (a**2 / (x.n - 1) + b**2 / (y.n - 1))
    return Estimate(y.mean - x.mean, float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(a + b), fewer)


def share_closed(part: ArrayLike, gap: ArrayLike, level: float = LEVEL) -> Share:
    """Return mean(part) / mean(gap), both [seeds, images], with Fieller's interval."""
    a, b = _matching_tables(part, gap)
    seeds, images = b.shape
    if not b.mean():
        return Share(None, None, seeds, images)
    return Share(float(a.mean() / b.mean()), fieller(a, b, level), seeds, images)


def fieller(part: ArrayLike, gap: ArrayLike, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the ends of the interval of r = mean(part)/mean(gap), both [seeds, images] (Fieller 1954).

    It holds every r for which part − r·gap does not differ from 0. None where the gap itself may be 0, so that it has
    no ends, and for one seed without images.
    """
    x, y = _matching_tables(part, gap)
    a, b = float(x.mean()), float(y.mean())
    if x.size == 1 or not np.isfinite([x, y]).all():
        return None
    squares = spread(np.stack([x, y]))
    if abs(b) <= squares.half((0.0, 1.0), level):
        return None

    def outside(ratio: float) -> bool:
        return abs(a - ratio * b) > squares.half((1.0, -ratio), level)

    return _find_edge(outside, a / b, -1), _find_edge(outside, a / b, 1)


def _find_edge(outside: Callable[[float], bool], inside: float, sign: int) -> float:
    """Return where a region that holds `inside` ends on that side."""
    step = 1e-6 * max(abs(inside), 1.0)
    while not outside(inside + sign * step):
        step *= 2
    low, high = 0.0, step
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if outside(inside + sign * middle) else (middle, high)
    return inside + sign * high
