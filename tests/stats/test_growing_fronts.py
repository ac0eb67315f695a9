"""Ranks of points that arrive one by one against the definition, which sorts all points anew."""

import math
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.growing_fronts import GrowingFronts, Scores

COORDINATE = st.sampled_from([-math.inf, -2.0, -1.0, 0.0, 0.1, 1 / 3, 1.0, 5.0]) | st.floats(-9, 9)


def beats(first: Scores, second: Scores) -> bool:
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))


def crowding(front: list[Scores]) -> list[float]:
    """Deb (2002), figure 5: along each axis the distance between neighbours, in units of the range; ∞ at the ends."""
    distances = [0.0] * len(front)
    for values in zip(*front, strict=True):
        order = sorted(range(len(front)), key=lambda place: values[place])
        distances[order[0]] = distances[order[-1]] = math.inf
        spread = values[order[-1]] - values[order[0]]
        for before, place, after in zip(order, order[1:], order[2:], strict=False):
            if 0 < spread < math.inf:
                distances[place] += (values[after] - values[before]) / spread
    return distances


def rank_of_last(points: list[Scores]) -> int:
    """How many points precede the last one: those of better fronts, and of its own by crowding distance."""
    left, preceding = list(range(len(points))), 0
    while True:
        front = [one for one in left if not any(beats(points[other], points[one]) for other in left)]
        if len(points) - 1 in front:
            distances = crowding([points[one] for one in front])
            return preceding + sum(distance >= distances[-1] for distance in distances) - 1
        preceding += len(front)
        left = [one for one in left if one not in front]


@pytest.mark.parametrize("size", [1, 2])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_each_point_gets_the_rank_that_sorting_all_gives_it(size: int, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.tuples(*[COORDINATE] * size), min_size=1, max_size=25))
    growing = GrowingFronts()
    assert [growing.add(point) for point in points] == [rank_of_last(points[: n + 1]) for n in range(len(points))]
    assert len(growing) == len(points)


def test_crowding_by_hand() -> None:
    assert crowding([(0.0, 4.0), (1.0, 3.0), (4.0, 0.0)]) == [math.inf, 1.0 + 1.0, math.inf]
    growing = GrowingFronts()
    for point in ((0.0, 8.0), (8.0, 0.0), (2.0, 4.0)):
        growing.add(point)
    assert growing.add((1.0, 6.0)) == 3  # 2/8 + 4/8, between (0, 8) and (2, 4): less than (2, 4), which has 7/8 + 6/8


def test_infinitely_bad_points_come_last() -> None:
    bad, growing = -math.inf, GrowingFronts()
    assert [growing.add(point) for point in ((bad, bad), (0.0, bad), (1.0, 1.0), (bad, bad))] == [0, 0, 0, 3]


def test_a_point_with_a_nan_is_worse_than_any_other() -> None:
    growing = GrowingFronts()
    assert [growing.add(point) for point in ((math.nan, 9.0), (-5.0, -5.0), (9.0, math.nan))] == [0, 0, 2]


def sequences(count: int) -> dict[str, list[Scores]]:
    draws = random.Random(0)
    values = [draws.random() for _ in range(count)]
    return {
        "one front": [(value, -value) for value in values],
        "one front that grows at its end": [(float(n), -float(n)) for n in range(count)],
        "each better than the last": [(float(n), float(n)) for n in range(count)],
        "each worse than the last": [(-float(n), -float(n)) for n in range(count)],
        "a front each": [(value, value) for value in values],
        "independent": [(value, draws.random()) for value in values],
        "all equal": [(0.0, 0.0)] * count,
    }


@pytest.mark.parametrize("kind", sequences(0))
def test_four_thousand_points_take_seconds(kind: str) -> None:
    growing = GrowingFronts()
    began = time.process_time()
    for point in sequences(4000)[kind]:
        growing.add(point)
    assert time.process_time() - began < 4  # 0.1 to 0.4 s on an idle core; sorting anew at each point takes minutes


def test_a_front_is_a_staircase() -> None:
    growing, draws = GrowingFronts(), random.Random(4)
    points = [(float(draws.randint(0, 9)), float(draws.randint(0, 9))) for _ in range(200)]
    for point in points:
        growing.add(point)
    fronts = [list(zip(*axes, strict=True)) for axes in zip(growing._first, growing._second, strict=True)]
    assert sorted(point for front in fronts for point in front) == sorted(points)
    for front in fronts:
        assert all(a == b or (a[0] < b[0] and a[1] > b[1]) for a, b in pairwise(front))
    for above, front in pairwise(fronts):
        assert all(any(beats(other, point) for other in above) for point in front)
