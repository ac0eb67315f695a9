"""Tukey's far fence."""

import statistics

import pytest

from stats.outliers import far_fence


def test_the_far_fence_is_three_interquartile_ranges_below_the_first_quartile():
    values = [4.0, 7.0, 9.0, 11.0, 12.0, 20.0, 33.0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    assert far_fence(values) == pytest.approx(low - 3 * (high - low))
    assert far_fence([5.0] * 4, least=0.5) == 3.5
    with pytest.raises(ValueError, match="no values"):
        far_fence([])
