"""Deep-ensemble equivalent: the number of deep-ensemble members that an ensemble is worth (Ashukha 2020)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stats.intervals import Spread, spread, spread_apart

GRID = 32
"""Grid points between two sizes for the ends of an interval, before they are refined by bisection."""
HALVINGS = 40
TIE = 1e-6
"""Nats within which two log-likelihoods are the same: stored values of one function differ by rounding."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Equivalent:
    """A number of members, exact on the curve; beyond its ends only bounds are known."""

    least: float
    most: float
    ends: "tuple[Equivalent, Equivalent] | None" = None
    """Ends of the 95 % interval; None without one."""
    seeds: int = 1
    """Seeds that the interval covers."""
    images: int = 1
    """Test images that the interval covers; 1 if it is over seeds alone."""

    @property
    def members(self) -> float | None:
        """The number, or None if the curve does not reach it."""
        return self.least if self.least == self.most else None

    def __str__(self) -> str:
        if self.members is not None:
            return f"{self.members:.2f}"
        return f"> {self.least:g}" if self.most == math.inf else f"< {self.most:g}"


def deep_ensemble_equivalent(value: float, curve: Mapping[int, float]) -> Equivalent:
    """Return the least real M at which the deep ensemble's calibrated log-likelihood reaches `value`.

    `curve` maps numbers of members to it. Between two sizes it is linear in 1/M, as the loss of an average of M
    predictions is to first order. Where it falls (noise), M is its first crossing, so that a better value is never
    worth fewer members. A value above the whole curve is beyond it, (largest M, inf); one below its first point is
    before it, (0, smallest M). Values within `TIE` are equal. Raises ValueError for an empty curve, for one with values
    that are not finite, and for a value that is not a number.
    """
    points = sorted(curve.items())
    if not points or points[0][0] < 1 or not all(math.isfinite(reached) for _, reached in points):
        raise ValueError(f"curve {dict(points)}: expected at least one number of members, each with a finite value")
    if math.isnan(value):
        raise ValueError("the value is not a number: expected a calibrated log-likelihood")
    first, start = points[0]
    if value <= start + TIE:
        return Equivalent(first, first) if value >= start - TIE else Equivalent(0.0, first)
    for (fewer, low), (more, high) in pairwise(points):
        if value <= high + TIE:
            inverse = 1 / more + (1 / fewer - 1 / more) * (high - value) / (high - low)
            members = more if value >= high - TIE else min(max(1 / inverse, fewer), more)  # not beyond them by rounding
            return Equivalent(members, members)
    return Equivalent(points[-1][0], math.inf)


def equivalent_interval(
    values: ArrayLike, deep: Mapping[int, ArrayLike], *, same_seeds: bool | None = None
) -> Equivalent:  # fmt: skip
    """Return the equivalent of values [seeds, images] on the curve of such values, with its 95 % interval.

    The interval holds every M at which `values` and the curve differ by no more than the interval over seeds and images
    of their difference (test inversion, as Fieller's): the noise of the curve counts, and what both share cancels.
    Images are the same for all, and so are the seeds of the curve's points. They are those of `values` too if there are
    as many, unless `same_seeds` says otherwise; different seeds are independent. With one seed on either side the
    interval is over images alone. It is None for single values, and where values are not finite. Raises ValueError as
    `deep_ensemble_equivalent` does, and for other shapes.
    """
    sizes = sorted(deep)
    mine = np.asarray(values, dtype=np.float64)
    curve = [np.asarray(deep[size], dtype=np.float64) for size in sizes]
    together = _check_shapes(mine, curve, same_seeds)
    means = [float(values.mean()) for values in (mine, *curve)]
    equivalent = deep_ensemble_equivalent(means[0], dict(zip(sizes, means[1:], strict=True)))
    seeds, images = min(len(mine), len(curve[0])), mine.shape[1]
    if (seeds, images) == (1, 1) or not np.isfinite(mine).all():
        return equivalent
    if seeds == 1:
        mine, *curve = (values.mean(axis=0, keepdims=True) for values in (mine, *curve))
        together = True
    parts = spread(np.stack([mine, *curve])) if together else spread_apart(mine[None], np.stack(curve))
    low, high = (_first_crossing(_interval_end(parts, np.array(means), sign), sizes) for sign in (-1, 1))
    return replace(equivalent, ends=(low, high), seeds=seeds, images=images)


def _check_shapes(values_: Array, curve: list[Array], same_seeds: bool | None) -> bool:
    """Check the shapes and return whether the seeds are the same."""
    shapes = {values.shape for values in curve}
    if (
        values_.ndim != 2
        or not values_.size
        or len(shapes) > 1
        or any(s[1:] != values_.shape[1:] or not s[0] for s in shapes)
    ):
        given = ", ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"values of shape {values_.shape}, a curve of {given}: expected [seeds, images], the same images"
        )
    together = not shapes or values_.shape in shapes if same_seeds is None else same_seeds
    if together and shapes and values_.shape not in shapes:
        raise ValueError(
            f"the same seeds: expected {curve[0].shape[0]} of them as on the curve, got {values_.shape[0]}"
        )
    return together


def _interval_end(parts: Spread, means: Array, sign: int) -> Callable[[Array], float]:
    """Return the function that gives an end of the interval of values − curve, of the curve's weights."""

    def end(weights: Array) -> float:
        coefficients = np.concatenate([[1.0], -weights])
        return float(coefficients @ means) + sign * parts.half(coefficients)

    return end


def _first_crossing(end: Callable[[Array], float], sizes: list[int]) -> Equivalent:
    """Return the first number of members at which `end` is no longer positive, or 0 at a size within `TIE`."""
    unit = np.eye(len(sizes))
    if end(unit[0]) <= TIE:
        return Equivalent(0.0, sizes[0]) if end(unit[0]) < -TIE else Equivalent(sizes[0], sizes[0])
    for place, (fewer, more) in enumerate(pairwise(sizes)):
        steps = np.arange(1, GRID + 1) / GRID
        reached = next((s for s in steps if end((1 - s) * unit[place] + s * unit[place + 1]) <= 0), None)
        if reached is None and end(unit[place + 1]) <= TIE:
            return Equivalent(more, more)
        if reached is None:
            continue
        low, high = reached - 1 / GRID, reached
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            outside = end((1 - middle) * unit[place] + middle * unit[place + 1]) > 0
            low, high = (middle, high) if outside else (low, middle)
        members = float(1 / ((1 - high) / fewer + high / more))
        return Equivalent(members, members)
    return Equivalent(sizes[-1], math.inf)
