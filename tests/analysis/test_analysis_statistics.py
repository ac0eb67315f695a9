import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import Estimate, in_words, mean_interval, paired_difference, pareto_front, signed


def test_interval_of_two_values_in_closed_form():
    estimate = mean_interval([1.0, 3.0])
    # n = 2: t(0.975, 1) = tan(0.475 π), s/√n = 1.
    assert estimate == Estimate(2.0, pytest.approx(math.tan(0.475 * math.pi)), 2)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_agrees_with_scipy(n, level):
    values = np.random.default_rng(n).normal(90, 2, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert mean_interval(values, level).interval == pytest.approx((expected.low, expected.high))


def test_paired_difference_uses_common_seeds_only_and_agrees_with_scipy():
    x, y = {0: 96.1, 1: 95.9, 2: 96.8, 7: 0.0}, {2: 95.6, 1: 95.5, 0: 95.8, 9: 100.0}
    expected = stats.ttest_rel([96.1, 95.9, 96.8], [95.8, 95.5, 95.6]).confidence_interval()
    difference = paired_difference(x, y)
    assert difference.n == 3
    assert difference.interval == pytest.approx((expected.low, expected.high))


def test_few_values_have_no_interval():
    assert mean_interval([]) is None
    assert mean_interval([5.0]) == Estimate(5.0, None, 1)
    assert mean_interval([5.0]).interval is None
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Estimate(0.7, 0.2, 3), "X is higher than Y by 0.70 points [0.50, 0.90], 3 seeds"),
        (Estimate(-0.7, 0.2, 5), "X is lower than Y by 0.70 points [0.50, 0.90], 5 seeds"),
        (Estimate(0.7, 0.8, 3), "X and Y: no difference beyond the noise of 3 seeds: 0.70 points [−0.10, 1.50]"),
        (Estimate(0.5, 0.5, 3), "X and Y: no difference beyond the noise of 3 seeds: 0.50 points [0.00, 1.00]"),
        (Estimate(-0.3, None, 1), "X and Y: too few seeds (1 in common: −0.30 points)"),
        (None, "X and Y: too few seeds (none in common)"),
        (
            mean_interval([0.1, 0.1, 0.1]),
            "X and Y: too few seeds (all 3 differ by the same 0.10 points, so the noise is unknown)",
        ),
    ],
)
def test_words_are_as_strong_as_the_interval(difference, words):
    assert in_words("X", "Y", difference, "points") == words


def test_pareto_front_against_the_definition():
    points = [tuple(point) for point in np.random.default_rng(0).integers(0, 12, (60, 2)).tolist()]
    front = pareto_front(points)
    undominated = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}
    assert [points[index] for index in front] == sorted(undominated)
    assert pareto_front([]) == []


def test_signs():
    assert [signed(-0.001, 2), signed(-1.5, 1), signed(2, 0)] == ["0.00", "−1.5", "2"]
