"""Fronts, orders and areas against the slow obvious way of finding them."""

import itertools
import math
import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stats.pareto import front, hypervolume, staircase

SMALL = st.integers(-3, 3).map(float)
POINTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.tuples(SMALL, SMALL), max_size=10)


def beats(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(first, second, strict=True)) and any(
        a > b for a, b in zip(first, second, strict=True)
    )


@given(POINTS)
def test_front_is_what_no_other_dominates(points: dict[str, tuple[float, float]]) -> None:
    found = front(points)
    expected = {key for key, p in points.items() if not any(beats(q, p) for q in points.values())}
    assert len(found) == len(set(found))
    assert set(found) == expected
    for first, second in pairwise(found):
        assert points[first][0] >= points[second][0]


@given(POINTS)
def test_hypervolume_is_the_area_of_the_dominated_squares(points: dict[str, tuple[float, float]]) -> None:
    squares = [(x, y) for x in range(-4, 3) for y in range(-4, 3)]
    area = sum(any(x + 1 <= p[0] and y + 1 <= p[1] for p in points.values()) for x, y in squares)
    assert hypervolume(list(points.values()), (-4.0, -4.0)) == area
    assert hypervolume([points[key] for key in front(points)], (-4.0, -4.0)) == area


def test_hypervolume_of_nothing() -> None:
    assert hypervolume([], (0.0, 0.0)) == 0
    assert hypervolume([(-1.0, 5.0), (5.0, -1.0)], (0.0, 0.0)) == 0  # beyond the corner


def test_an_infinitely_bad_point_may_be_a_front() -> None:
    bad = float("-inf")
    assert front({"a": (bad, bad)}) == ["a"]


def test_the_staircase_against_the_definition() -> None:
    draws = random.Random(0)
    points = [(float(draws.randint(0, 11)), float(draws.randint(0, 11))) for _ in range(60)]
    undominated = {p for p in points if not any(beats(q, p) for q in points)}
    found = staircase(points)
    assert [points[index] for index in found] == sorted(undominated)
    assert found == [points.index(points[index]) for index in found]
    assert staircase([]) == []


def test_a_point_with_a_nan_is_in_no_front_whatever_the_order() -> None:
    points = {"a": (-1.0, 90.0), "n": (math.nan, 95.0), "m": (5.0, math.nan), "b": (-2.0, 92.0), "c": (-3.0, 91.0)}
    for order in itertools.permutations(points):
        given = {key: points[key] for key in order}
        assert front(given) == ["a", "b"]
        assert hypervolume(given.values(), (-4.0, 0.0)) == hypervolume([points[key] for key in "abc"], (-4.0, 0.0))
