"""Numbers over seeds with the intervals they bear, and the words that such intervals allow."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

LEAST_SEEDS = 3
"""Below this many seeds nothing is said of a difference."""


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds and the half width of its Student-t interval (None for one seed), in the values' unit."""

    mean: float
    half: float | None
    n: int
    images: int = 1
    """Test images over which the interval is too; 1 if it is over seeds alone."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper end; None if n < 2."""
        return None if self.half is None else (self.mean - self.half, self.mean + self.half)

    def format(self, digits: int, plus_minus: str = "±") -> str:
        """`95.30 ± 0.41`, or `95.30` alone for one seed."""
        mean = signed(self.mean, digits)
        return mean if self.half is None else f"{mean} {plus_minus} {self.half:.{digits}f}"


@dataclass(frozen=True)
class Share:
    """A share of a gap that is closed (1: all of it), its interval where the gap is there at all, and over what."""

    value: float | None
    interval: tuple[float, float] | None
    n: int
    images: int = 1


def over(found: Estimate | Share) -> str:
    """`3 seeds`, or `3 seeds and 1,797 test images`."""
    return f"{found.n} seeds" + (f" and {found.images:,} test images" if found.images > 1 else "")


def mean_interval(values: Iterable[float], level: float = 0.95) -> Estimate | None:
    """Mean ± t((1+level)/2, n-1)·s/√n with s² = Σ(x-mean)²/(n-1); None without values."""
    array = np.asarray(list(values), dtype=float)
    n = len(array)
    if n == 0:
        return None
    if n == 1:
        return Estimate(float(array[0]), None, 1)
    half = stdtrit(n - 1, (1 + level) / 2) * array.std(ddof=1) / math.sqrt(n)
    return Estimate(float(array.mean()), float(half), n)


def paired_difference(x: Mapping[int, float], y: Mapping[int, float], level: float = 0.95) -> Estimate | None:
    """Mean of x − y over the seeds that both have, with its t interval; None without a common seed."""
    return mean_interval((x[seed] - y[seed] for seed in sorted(x.keys() & y.keys())), level)


def in_words(x: str, y: str, difference: Estimate | None, unit: str, digits: int = 2) -> str:
    """The sentence about x − y that its interval bears: higher or lower only if the interval excludes 0."""
    if difference is None:
        return f"{x} and {y}: too few seeds (none in common)"
    d = f"{signed(difference.mean, digits)} {unit}".strip()
    if difference.half is None:
        return f"{x} and {y}: too few seeds (1 in common: {d})"
    n, noise = difference.n, over(difference)
    # Equal differences (coarse metrics, few seeds) would give an interval without width: more certainty than there is.
    if difference.half <= 1e-12 * max(1.0, abs(difference.mean)):
        return f"{x} and {y}: too few seeds (all {n} differ by the same {d}, so the noise is unknown)"
    low, high = difference.mean - difference.half, difference.mean + difference.half
    if low <= 0 <= high:
        ends = f"[{signed(low, digits)}, {signed(high, digits)}]"
        return f"{x} and {y}: no difference beyond the noise of {noise}: {d} {ends}"
    direction = "higher" if low > 0 else "lower"
    smallest, largest = sorted((abs(low), abs(high)))
    size = f"{abs(difference.mean):.{digits}f} {unit}".strip()
    return f"{x} is {direction} than {y} by {size} [{smallest:.{digits}f}, {largest:.{digits}f}], {noise}"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point beats (both larger is better), from small to large first coordinate."""
    order = sorted(range(len(points)), key=lambda index: points[index], reverse=True)
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front[::-1]


def signed(value: float, digits: int) -> str:
    """The number with a true minus sign, and no minus before zeros."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
