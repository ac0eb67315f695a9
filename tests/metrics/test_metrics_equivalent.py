"""The deep-ensemble equivalent on a curve, between its points and beyond it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basin.errors import UsageError
from basin.metrics.equivalent import Equivalent, deep_ensemble_equivalent

CURVE = {1: -0.9, 2: -0.7, 4: -0.6, 8: -0.55}


@pytest.mark.parametrize("members", CURVE)
def test_a_point_of_the_curve_is_its_own_number(members: int) -> None:
    found = deep_ensemble_equivalent(CURVE[members], CURVE)
    assert found == Equivalent(members, members)
    assert found.members == members


def test_between_two_points_it_interpolates() -> None:
    assert deep_ensemble_equivalent(-0.8, CURVE).members == pytest.approx(1.5)
    assert deep_ensemble_equivalent(-0.575, dict(reversed(CURVE.items()))).members == pytest.approx(6)
    assert str(deep_ensemble_equivalent(-0.65, CURVE)) == "3.00"


@pytest.mark.parametrize("value", [-0.5, 0, math.inf])
def test_beyond_the_curve_it_says_so(value: float) -> None:
    found = deep_ensemble_equivalent(value, CURVE)
    assert found == Equivalent(8, math.inf)
    assert found.members is None
    assert str(found) == "> 8"


@pytest.mark.parametrize("value", [-0.91, -math.inf])
def test_less_than_one_member_is_said_too(value: float) -> None:
    found = deep_ensemble_equivalent(value, CURVE)
    assert found == Equivalent(0, 1)
    assert found.members is None
    assert str(found) == "< 1"


def test_a_curve_that_falls_is_first_crossed() -> None:
    curve = {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.5}
    assert deep_ensemble_equivalent(0.25, curve).members == pytest.approx(1.75)
    assert deep_ensemble_equivalent(0.3, curve).members == 2
    assert deep_ensemble_equivalent(0.4, curve).members == pytest.approx(3 + 2 / 3)
    assert deep_ensemble_equivalent(0.3, {1: 0.3, 2: 0.3}).members == 1


finite = st.floats(-1e6, 1e6)


@given(st.dictionaries(st.integers(1, 20), finite, min_size=1), finite, finite)
def test_a_better_value_is_never_worth_less(curve: dict[int, float], a: float, b: float) -> None:
    worse, better = (deep_ensemble_equivalent(value, curve) for value in sorted((a, b)))
    assert worse.least <= better.least
    assert worse.most <= better.most


@pytest.mark.parametrize("curve", [{}, {1: math.nan}, {1: -math.inf, 2: 0.0}])
def test_a_curve_without_numbers_is_refused(curve: dict[int, float]) -> None:
    with pytest.raises(UsageError, match=r"expected at least one number of members, each with a finite value"):
        deep_ensemble_equivalent(0.0, curve)


def test_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the value is not a number: expected a calibrated log-likelihood"):
        deep_ensemble_equivalent(math.nan, CURVE)
