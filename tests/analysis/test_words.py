import pytest

from analysis.answers.words import counted, in_words, interval_ends, join_names, sample_size, signed
from stats.intervals import Estimate, mean_interval


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Estimate(0.7, 0.2, 3), "X is 0.70 points higher than Y (95 % CI 0.50 to 0.90, 3 seeds)"),
        (Estimate(-0.7, 0.2, 5), "X is 0.70 points lower than Y (95 % CI 0.50 to 0.90, 5 seeds)"),
        (Estimate(0.7, 0.8, 3), "X vs. Y: no measurable difference, 0.70 points (95 % CI −0.10 to 1.50, 3 seeds)"),
        (Estimate(0.5, 0.5, 3), "X vs. Y: no measurable difference, 0.50 points (95 % CI 0.00 to 1.00, 3 seeds)"),
        (
            Estimate(0.7, 0.2, 3, 1797),
            "X is 0.70 points higher than Y (95 % CI 0.50 to 0.90, 3 seeds and 1,797 images)",
        ),
        (Estimate(-0.3, None, 1), "X vs. Y: too few seeds (need 3 in common, have 1)"),
        (Estimate(-0.3, 0.1, 2, 400), "X vs. Y: too few seeds (need 3 in common, have 2)"),
        (None, "X vs. Y: too few seeds (need 3 in common, have 0)"),
        (mean_interval([0.1, 0.1, 0.1]), "X vs. Y: 0.10 points for each of 3 seeds, too coarse for an interval"),
    ],
)
def test_words_are_as_strong_as_the_interval(difference, words):
    assert in_words("X", "Y", difference, "points") == words


def test_metrics_with_a_direction_are_better_or_worse():
    more = Estimate(0.7, 0.2, 3)
    assert " better than " in in_words("X", "Y", more, "points", better="higher")
    assert " worse than " in in_words("X", "Y", more, "nats", better="lower")
    assert " better than " in in_words("X", "Y", Estimate(-0.7, 0.2, 3), "nats", better="lower")


def test_signs():
    assert [signed(-0.001, 2), signed(-1.5, 1), signed(2, 0)] == ["0.00", "−1.5", "2"]
    assert interval_ends(-0.04, 1.26, 1) == "0.0 to 1.3"


def test_estimates_and_counts():
    assert Estimate(95.3, 0.414, 3).format(2) == "95.30 ± 0.41"
    assert Estimate(-0.5, None, 1).format(1) == "−0.5"
    assert [counted(1, "seed"), counted(1200, "image")] == ["1 seed", "1,200 images"]
    assert sample_size(Estimate(0.0, 1.0, 1)) == "1 seed"
    assert [join_names(["a"]), join_names(["a", "b", "c"])] == ["a", "a, b and c"]
