"""Pareto dominance: fronts and hypervolume. More is better in every coordinate."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def front(points: Mapping[Key, tuple[float, float]]) -> list[Key]:
    """Return the keys of the points that no other dominates, by the first coordinate, descending.

    Equal points are all kept, in the order in which they are given. A point with a NaN is in no front. Sorts once:
    O(n log n).
    """
    kept: list[Key] = []
    highest = -math.inf
    known = {key: point for key, point in points.items() if not any(map(math.isnan, point))}
    for key, (x, y) in sorted(known.items(), key=lambda item: (-item[1][0], -item[1][1])):
        if y > highest or not kept or points[kept[-1]] == (x, y):
            kept.append(key)
            highest = y
    return kept


def staircase(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the front's points from small to large first coordinate, of equal points the first."""
    distinct: dict[tuple[float, float], int] = {}
    for index, point in enumerate(points):
        distinct.setdefault(point, index)
    return [distinct[point] for point in reversed(front({point: point for point in distinct}))]


def hypervolume(points: Iterable[tuple[float, float]], corner: tuple[float, float]) -> float:
    """Return the area that the points dominate above `corner`; a point with a NaN has none."""
    area, floor = 0.0, corner[1]
    for x, y in sorted((point for point in points if not any(map(math.isnan, point))), reverse=True):
        if x > corner[0] and y > floor:
            area += (x - corner[0]) * (y - floor)
            floor = y
    return area
