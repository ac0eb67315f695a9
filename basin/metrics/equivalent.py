"""How many members of a deep ensemble an ensemble is worth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from basin.errors import UsageError


@dataclass(frozen=True)
class Equivalent:
    """A number of members, known exactly where the curve is, and otherwise only to lie beyond an end of it."""

    least: float
    most: float

    @property
    def members(self) -> float | None:
        """The number, or None if the curve does not reach it."""
        return self.least if self.least == self.most else None

    def __str__(self) -> str:
        if self.members is not None:
            return f"{self.members:.2f}"
        return f"> {self.least:g}" if self.most == math.inf else f"< {self.most:g}"


def deep_ensemble_equivalent(value: float, curve: Mapping[int, float]) -> Equivalent:
    """The least real M at which the deep ensemble's calibrated log-likelihood reaches `value` (DEE of Ashukha 2020).

    `curve` maps numbers of members to it, with straight lines between them; where it falls (noise), M is its first
    crossing, so that a better value is never worth fewer members. A value above the whole curve lies beyond it, in
    (largest M, inf); one below its first point lies before it, in (0, smallest M). Raises UsageError for an empty
    curve, for one with values that are not finite, and for a value that is not a number.
    """
    points = sorted(curve.items())
    if not points or not all(math.isfinite(reached) for _, reached in points):
        raise UsageError(f"curve {dict(points)}: expected at least one number of members, each with a finite value")
    if math.isnan(value):
        raise UsageError("the value is not a number: expected a calibrated log-likelihood")
    first, start = points[0]
    if value <= start:
        return Equivalent(first, first) if value == start else Equivalent(0.0, first)
    for (fewer, low), (more, high) in pairwise(points):
        if value <= high:
            members = max(fewer, more - (more - fewer) * (high - value) / (high - low))  # not below by rounding
            return Equivalent(members, members)
    return Equivalent(points[-1][0], math.inf)
