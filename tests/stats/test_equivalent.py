"""The deep-ensemble equivalent on a curve, between its points and beyond it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.equivalent import Equivalent, deep_ensemble_equivalent, equivalent_interval
from stats.intervals import estimate

CURVE = {1: -0.9, 2: -0.7, 4: -0.6, 8: -0.55}


@pytest.mark.parametrize("members", CURVE)
def test_a_point_of_the_curve_is_its_own_number(members: int) -> None:
    found = deep_ensemble_equivalent(CURVE[members], CURVE)
    assert found == Equivalent(members, members)
    assert found.members == members


def test_between_two_points_it_is_linear_in_the_inverse() -> None:
    assert deep_ensemble_equivalent(-0.8, CURVE).members == pytest.approx(1 / 0.75)
    assert deep_ensemble_equivalent(-0.575, dict(reversed(CURVE.items()))).members == pytest.approx(1 / (3 / 16))
    assert str(deep_ensemble_equivalent(-0.65, CURVE)) == "2.67"


@pytest.mark.parametrize("members", [1.2, 3.0, 5.5, 7.9])
def test_a_curve_linear_in_the_inverse_is_read_exactly(members: float) -> None:
    """Straight lines in M instead would read 5.5 as 6.18."""
    curve = {size: -0.2 - 0.3 / size for size in (1, 2, 4, 8)}
    value = -0.2 - 0.3 / members
    assert deep_ensemble_equivalent(value, curve).members == pytest.approx(members)
    if members == 5.5:
        assert np.interp(value, list(curve.values()), list(curve)) == pytest.approx(6.18, abs=0.005)


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
    assert deep_ensemble_equivalent(0.25, curve).members == pytest.approx(1 / 0.625)
    assert deep_ensemble_equivalent(0.3, curve).members == 2
    assert deep_ensemble_equivalent(0.4, curve).members == pytest.approx(1 / (5 / 18))
    assert deep_ensemble_equivalent(0.3, {1: 0.3, 2: 0.3}).members == 1


finite = st.floats(-1e6, 1e6)


@given(st.dictionaries(st.integers(1, 20), finite, min_size=1), finite, finite)
def test_a_better_value_is_never_worth_less(curve: dict[int, float], a: float, b: float) -> None:
    worse, better = (deep_ensemble_equivalent(value, curve) for value in sorted((a, b)))
    assert worse.least <= better.least
    assert worse.most <= better.most


@pytest.mark.parametrize("curve", [{}, {1: math.nan}, {1: -math.inf, 2: 0.0}, {0: 0.0}])
def test_a_curve_without_numbers_is_refused(curve: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one number of members, each with a finite value"):
        deep_ensemble_equivalent(0.0, curve)


def test_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the value is not a number: expected a calibrated log-likelihood"):
        deep_ensemble_equivalent(math.nan, CURVE)


SIZES = (1, 2, 4, 8)


def measured(members: float, seeds: int, images: int, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Likelihoods of an ensemble worth that many members, and of the deep ensembles of the same seeds."""
    image, slope, seed = rng.normal(size=images), rng.normal(size=images), rng.normal(size=(seeds, 1))
    common = 0.3 * image + 0.1 * seed

    def values(inverse: float) -> np.ndarray:
        noise = 0.01 * rng.normal(size=(seeds, 1)) + 0.1 * rng.normal(size=(seeds, images))
        return common - (0.3 + 0.3 * slope) * inverse + noise

    return values(1 / members), {size: values(1 / size) for size in SIZES}


@pytest.mark.parametrize(("seeds", "images"), [(3, 200), (5, 200), (5, 1), (1, 400)])
def test_intervals_hold_the_number_of_members_as_often_as_they_say(seeds: int, images: int) -> None:
    rng, inside, repetitions = np.random.default_rng(seeds), 0, 200
    for _ in range(repetitions):
        if images == 1:
            own, deep = measured(3.0, seeds, 200, rng)
            found = equivalent_interval(
                own.mean(axis=1, keepdims=True), {size: v.mean(axis=1, keepdims=True) for size, v in deep.items()}
            )
        else:
            found = equivalent_interval(*measured(3.0, seeds, images, rng))
        assert found.ends is not None
        assert (found.seeds, found.images) == (seeds, images)
        inside += found.ends[0].least <= 3.0 <= found.ends[1].most
    if seeds == 1:  # other seeds would move it further: over images alone it promises less
        assert inside / repetitions < 0.95
    elif images > 1:
        assert 0.91 <= inside / repetitions <= 0.985


def test_the_ends_are_where_the_difference_from_the_curve_is_within_its_interval() -> None:
    own, deep = measured(3.0, 4, 100, np.random.default_rng(8))
    found = equivalent_interval(own, deep)
    assert found.ends is not None
    for edge, end in enumerate(found.ends):
        members = end.members
        assert members is not None
        fewer, more = (2, 4) if members < 4 else (4, 8)
        share = (1 / fewer - 1 / members) / (1 / fewer - 1 / more)
        interval = estimate(own - (1 - share) * deep[fewer] - share * deep[more]).interval
        assert interval is not None
        assert interval[edge] == pytest.approx(0, abs=2e-4)
    assert found.ends[0].least < found.least < found.ends[1].most
    assert found.members == deep_ensemble_equivalent(own.mean(), {m: v.mean() for m, v in deep.items()}).members


def test_beyond_the_curve_ends_say_so() -> None:
    own, deep = measured(8.0, 3, 100, np.random.default_rng(1))
    high = equivalent_interval(own, deep).ends
    assert high is not None
    assert high[1] == Equivalent(8, math.inf)
    own, deep = measured(1.0, 3, 100, np.random.default_rng(2))
    low = equivalent_interval(own, deep).ends
    assert low is not None
    assert low[0] == Equivalent(0, 1)


def test_other_seeds_are_independent() -> None:
    rng = np.random.default_rng(3)
    own, deep = measured(3.0, 4, 100, rng)
    paired, apart = equivalent_interval(own, deep), equivalent_interval(own, deep, same_seeds=False)
    fewer = equivalent_interval(own[:3], deep)
    assert paired.members == apart.members
    assert fewer.seeds == 3
    widths = [f.ends[1].least - f.ends[0].least for f in (paired, apart) if f.ends]
    assert widths[1] > 1.05 * widths[0]  # what seeds share no longer cancels
    rng, inside = np.random.default_rng(4), 0
    for _ in range(150):
        own, deep = measured(3.0, 8, 150, rng)
        found = equivalent_interval(own[:3], {size: values[3:] for size, values in deep.items()})
        assert found.ends is not None
        inside += found.ends[0].least <= 3.0 <= found.ends[1].most
    assert 0.89 <= inside / 150 < 1


def test_an_ensemble_is_worth_itself() -> None:
    _, deep = measured(3.0, 3, 50, np.random.default_rng(5))
    found = equivalent_interval(deep[4], deep)
    assert found.ends is not None
    assert found.members == 4
    assert found.ends[0].least <= 4 <= found.ends[1].most


def test_the_same_function_is_worth_the_same_whatever_the_rounding_of_its_values() -> None:
    """A permuted ensemble computes what the deep one does, and its stored values differ in their last digit."""
    rng = np.random.default_rng(6)
    _, deep = measured(3.0, 3, 50, rng)
    for size in (1, 4, max(deep)):
        rounded = np.asarray(deep[size]) + rng.choice([-1.2e-7, 1.2e-7], np.shape(deep[size]))
        for values in (rounded, rounded + 1e-7, rounded - 1e-7):
            found = equivalent_interval(values, deep)
            assert found.ends is not None
            assert [found.members, found.ends[1].members] == pytest.approx([size, size], abs=1e-4)
    assert deep_ensemble_equivalent(-0.7 + 1e-3, {1: -0.9, 2: -0.7}).members is None  # a real difference is one


def test_single_and_infinite_values_have_no_interval() -> None:
    assert equivalent_interval([[-0.8]], {1: [[-0.9]], 2: [[-0.7]]}).ends is None
    found = equivalent_interval([[-math.inf], [0.0]], {1: [[-0.9], [-0.9]], 2: [[-0.7], [-0.8]]})
    assert found == Equivalent(0.0, 1)
    one = equivalent_interval(np.full((1, 3), -0.8), {1: np.full((2, 3), -0.9), 2: np.full((2, 3), -0.7)})
    assert one.ends is not None
    assert [end.members for end in one.ends] == pytest.approx([4 / 3, 4 / 3])  # nothing varies
    assert one.seeds == 1


def test_other_shapes_and_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\), a curve of \(2, 4\): expected \[seeds, images\]"):
        equivalent_interval(np.zeros((2, 3)), {1: np.zeros((2, 4))})
    with pytest.raises(ValueError, match=r"the same seeds: expected 3 of them as on the curve, got 2"):
        equivalent_interval(np.zeros((2, 4)), {1: np.zeros((3, 4))}, same_seeds=True)
    with pytest.raises(ValueError, match=r"expected at least one number of members"):
        equivalent_interval(np.zeros((2, 4)), {})
