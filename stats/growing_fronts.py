"""Ranks of points that arrive one by one: front by front, within a front by crowding distance (Deb 2002)."""

import math
from array import array
from bisect import bisect_left, bisect_right
from operator import neg

import numpy as np
from numpy.typing import NDArray

Scores = tuple[float, ...]


class GrowingFronts:
    """Points in fronts; those of a front are dominated only by points of earlier fronts. More is better.

    A front is kept as its first coordinates, ascending, and its second ones, descending; equal points are neighbours in
    the order of their arrival. A new point pushes those it dominates into the next front, which pushes others further:
    each time they are neighbours (Yakupov and Buzdalov 2015).
    """

    def __init__(self) -> None:
        self._first: list[array[float]] = []
        self._second: list[array[float]] = []

    def __len__(self) -> int:
        return sum(map(len, self._first))

    def add(self, point: Scores) -> int:
        """Add a point of one or two coordinates; return how many points precede it.

        Within a front those with a larger crowding distance precede; of equals the earlier one does. A point with a NaN
        is worse than any other.
        """
        x, y = (point[0], point[-1]) if not any(map(math.isnan, point)) else (-math.inf, -math.inf)
        depth = bisect_left(range(len(self._first)), True, key=lambda depth: not self._dominates(depth, x, y))
        place = self._insert(depth, x, y)
        distances = _crowding(self._first[depth]) + _crowding(self._second[depth])
        before = int(np.count_nonzero(distances >= distances[place])) - 1
        return sum(map(len, self._first[:depth])) + before

    def _dominates(self, depth: int, x: float, y: float) -> bool:
        """Tell whether a front has a point that dominates (x, y)."""
        first, second = self._first[depth], self._second[depth]
        place = bisect_left(first, x)
        return place < len(first) and second[place] >= y and (first[place], second[place]) != (x, y)

    def _insert(self, depth: int, x: float, y: float) -> int:
        """Insert a point into the first front that does not dominate it; return its place there."""
        if depth == len(self._first):
            self._push(depth, array("d", [x]), array("d", [y]))
            return 0
        place, end = self._span(depth, x, y)
        first, second = self._first[depth], self._second[depth]
        if place < end and (first[place], second[place]) == (x, y):
            place = end  # after its equals, and then it dominates none of this front
        moved = first[place:end], second[place:end]
        first[place:end], second[place:end] = array("d", [x]), array("d", [y])
        if moved[0]:
            self._push(depth + 1, *moved)
        return place

    def _span(self, depth: int, x: float, y: float) -> tuple[int, int]:
        """Places of a front's points that are at most x and at most y."""
        return bisect_left(self._second[depth], -y, key=neg), bisect_right(self._first[depth], x)

    def _push(self, depth: int, xs: "array[float]", ys: "array[float]") -> None:
        """Move neighbours into a front; they become a front of their own if they dominate all of it."""
        while depth < len(self._first):
            first, second = self._first[depth], self._second[depth]
            start, end = self._span(depth, xs[-1], ys[0])
            if (start, end) == (0, len(first)):
                break
            moved = first[start:end], second[start:end]
            first[start:end], second[start:end] = xs, ys
            if not moved[0]:
                return
            xs, ys, depth = *moved, depth + 1
        self._first.insert(depth, xs)
        self._second.insert(depth, ys)


def _crowding(values: "array[float]") -> NDArray[np.float64]:
    """Distance between the two neighbours of each value, in units of the range; ∞ at both ends."""
    known, distances = np.array(values), np.zeros(len(values))
    order = np.argsort(known, kind="stable")
    known = known[order]
    distances[order[0]] = distances[order[-1]] = np.inf
    with np.errstate(all="ignore"):
        spread = known[-1] - known[0]
        if np.isfinite(spread) and spread > 0:
            distances[order[1:-1]] += (known[2:] - known[:-2]) / spread
    return distances
