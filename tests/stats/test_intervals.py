"""Intervals against scipy and plain loops, and how often they hold the truth."""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from stats.intervals import (
    Estimate,
    Share,
    estimate,
    estimate_resampled,
    fieller,
    mean_halves,
    mean_interval,
    paired,
    share_closed,
    welch,
)

RNG = np.random.default_rng
Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def slow_half(values: list[list[float]]) -> float:
    """Half width of the interval over seeds and images, from sums written out."""
    n, m = len(values), len(values[0])
    mean = statistics.fmean(v for row in values for v in row)
    rows = [statistics.fmean(row) for row in values]
    columns = [statistics.fmean(row[j] for row in values) for j in range(m)]
    seeds = m * sum((r - mean) ** 2 for r in rows) / (n - 1)
    images = n * sum((c - mean) ** 2 for c in columns) / (m - 1)
    both = sum((values[i][j] - rows[i] - columns[j] + mean) ** 2 for i in range(n) for j in range(m))
    both /= (n - 1) * (m - 1)
    total = max(0.0, seeds - both) + max(0.0, images - both) + both
    shares = [1.0 if square >= both else max(0.0, (square - both / 2) / (both / 2)) for square in (seeds, images)]
    spent = shares[0] * seeds**2 / (n - 1) + shares[1] * images**2 / (m - 1) + both**2 / ((n - 1) * (m - 1))
    freedom = total**2 / spent
    return scipy.stats.t.ppf(0.975, freedom) * math.sqrt(total / n / m)


@pytest.mark.parametrize(
    ("seeds", "images"), [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.01, 0.0)], ids=lambda value: f"{value:g}"
)
def test_the_interval_is_that_of_sums_written_out(seeds: float, images: float) -> None:
    for number in range(20):
        rng = RNG(number)
        data = seeds * rng.normal(size=(4, 1)) + images * rng.normal(size=15) + rng.normal(size=(4, 15))
        found = estimate(data)
        assert found.mean == pytest.approx(data.mean())
        assert found.half == pytest.approx(slow_half(data.tolist()))
        assert (found.n, found.images) == (4, 15)


def test_no_tie_decides_the_width() -> None:
    """Seeds that differ as much as the interaction alone makes them differ, and a hair more or less."""
    rng = RNG(0)
    both = rng.normal(size=(3, 200))
    both -= both.mean(axis=0) + both.mean(axis=1, keepdims=True) - both.mean()
    size = math.sqrt(float((both**2).sum()) / (2 * 199) / 200)  # as large as seeds' means are by chance
    seeds = np.array([[-1.0], [0.0], [1.0]]) * size
    halves = [float(estimate(both + factor * seeds).half or 0) for factor in (0.999, 1.0, 1.001)]
    assert halves == pytest.approx([halves[1]] * 3, rel=0.01)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("size", [2, 3, 30])
def test_one_way_alone_is_student_s_interval(size: int, level: float) -> None:
    values = RNG(size).normal(90, 2, size)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
    over_seeds, over_images = estimate(values[:, None], level), estimate(values[None], level)
    assert over_seeds.interval == pytest.approx((expected.low, expected.high))
    assert over_images.interval == pytest.approx((expected.low, expected.high))
    assert (over_seeds.n, over_seeds.images) == (size, 1)
    assert (over_images.n, over_images.images) == (1, size)
    assert mean_interval(values.tolist(), level) == over_seeds


def test_two_values_in_closed_form() -> None:
    # n = 2: t(0.975, 1) = tan(0.475 π), s/√n = 1.
    assert mean_interval([1.0, 3.0]) == Estimate(2.0, pytest.approx(math.tan(0.475 * math.pi)), 2)


def test_what_has_no_interval() -> None:
    assert mean_interval([]) is None
    assert mean_interval([5.0]) == Estimate(5.0, None, 1)
    assert Estimate(5.0, None, 1).interval is None
    assert estimate([[1.0, math.inf], [2.0, 3.0]]) == Estimate(math.inf, None, 2, 2)
    assert math.isnan(estimate([[math.nan, 1.0], [2.0, 3.0]]).mean)
    assert estimate(np.full((3, 4), 2.0)) == Estimate(2.0, 0.0, 3, 4)


def test_estimates_in_text() -> None:
    assert Estimate(-95.304, 0.412, 3).format(2) == "−95.30 ± 0.41"
    assert Estimate(-0.001, None, 1).format(2) == "0.00"
    assert Estimate(1.0, 0.5, 3).format(1, "+-") == "1.0 +- 0.5"


def normal(seeds: float, images: float, both: float) -> Draw:
    def draw(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
        return seeds * rng.normal(size=(n, 1)) + images * rng.normal(size=m) + both * rng.normal(size=(n, m))

    return draw


def right(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Accuracy near 94 %: an image is right where its latent score is above 0."""
    return 100.0 * (2.7 + normal(0.1, 1.5, 0.8)(rng, n, m) > 0)


REGIMES: dict[str, tuple[Draw, float]] = {
    "images dominate": (normal(0.01, 1.0, 0.3), 0.0),
    "seeds dominate": (normal(1.0, 1.0, 0.3), 0.0),
    "interaction dominates": (normal(0.03, 0.3, 1.0), 0.0),
    "balanced": (normal(0.05, 1.0, 1.0), 0.0),
    "binary accuracy": (right, 100 * scipy.stats.norm.cdf(2.7 / math.sqrt(0.1**2 + 1.5**2 + 0.8**2))),
}
IMAGES = 300


def covered(draw: Draw, truth: float, seeds: int, repetitions: int) -> float:
    rng, inside = RNG([1, seeds]), 0
    for _ in range(repetitions):
        found = estimate(draw(rng, seeds, IMAGES))
        assert found.half is not None
        inside += abs(found.mean - truth) <= found.half
    return inside / repetitions


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_hold_the_truth_as_often_as_they_say(regime: str, seeds: int) -> None:
    low, high = (0.92, 0.98) if seeds == 3 else (0.93, 0.97)
    assert low <= covered(*REGIMES[regime], seeds, 4000) <= high


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_any_effect_of_seeds_or_images_intervals_are_a_little_wide(seeds: int) -> None:
    """Components cannot be below 0: where both are 0 this costs two points of coverage."""
    assert 0.95 <= covered(normal(0.0, 0.0, 1.0), 0.0, seeds, 1500) <= 0.985


def test_what_seeds_alone_and_percentiles_would_cover() -> None:
    """The two intervals that this one replaces, where images dominate and where seeds do."""
    rng, student, percentile = RNG(0), 0, 0
    for _ in range(600):
        means = normal(0.01, 1.0, 0.3)(rng, 3, IMAGES).mean(axis=1)
        found = mean_interval(means)
        assert found is not None
        assert found.half is not None
        student += abs(found.mean) <= found.half
        drawn = rng.normal(size=3)[rng.integers(3, size=(200, 3))].mean(axis=1)
        percentile += np.percentile(drawn, 2.5) <= 0 <= np.percentile(drawn, 97.5)
    assert student / 600 < 0.7
    assert percentile / 600 < 0.85


def resampled(data: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means over resampled images, [resamples, seeds]."""
    chosen = rng.integers(data.shape[1], size=(resamples, data.shape[1]))
    return np.array([data[:, row].mean(axis=1) for row in chosen])


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_resampled_means_give_the_interval_of_means(seeds: int) -> None:
    rng = RNG(seeds)
    data = normal(0.05, 1.0, 1.0)(rng, seeds, 400)
    found = estimate_resampled(data.mean(axis=1), resampled(data, 2000, rng), 400)
    expected = estimate(data)
    assert found.mean == pytest.approx(expected.mean)
    assert found.half == pytest.approx(expected.half, rel=0.15 if seeds == 3 else 0.06)
    assert (found.n, found.images) == (seeds, 400)


def test_resampled_spreads_cover_the_truth() -> None:
    """A number that is no mean: the spread of images' values, 1 in the population, with seeds of their own."""
    rng, inside = RNG(5), 0
    for _ in range(200):
        scale = 1 + 0.03 * rng.normal(size=(5, 1))
        data = scale * (0.8 * rng.normal(size=150) + 0.6 * rng.normal(size=(5, 150)))
        chosen = rng.integers(150, size=(100, 150))
        drawn = np.array([data[:, row].std(axis=1, ddof=1) for row in chosen])
        found = estimate_resampled(data.std(axis=1, ddof=1), drawn, 150)
        assert found.half is not None
        inside += abs(found.mean - 1) <= found.half
    assert 0.9 <= inside / 200 <= 0.99


def test_resamples_without_numbers_and_of_other_shapes() -> None:
    assert estimate_resampled([1.0, math.inf], [[1.0, 2.0]] * 3, 9) == Estimate(math.inf, None, 2, 9)
    assert estimate_resampled([1.0], [[1.0], [1.0]], 1).half is None
    assert estimate_resampled([1.0, 2.0], [[1.0, 2.0]] * 2, 1).half == pytest.approx(6.353, abs=1e-3)  # seeds alone
    with pytest.raises(ValueError, match=r"values of \(2,\), resamples of \(1, 2\): expected \[seeds\], \[2 or more"):
        estimate_resampled([1.0, 2.0], [[1.0, 2.0]], 9)


def test_paired_seeds_of_mappings_are_those_in_common() -> None:
    x, y = {0: 96.1, 1: 95.9, 2: 96.8, 7: 0.0}, {2: 95.6, 1: 95.5, 0: 95.8, 9: 100.0}
    expected = scipy.stats.ttest_rel([96.1, 95.9, 96.8], [95.8, 95.5, 95.6]).confidence_interval()
    found = paired(x, y)
    assert found is not None
    assert found.n == 3
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_pairing_removes_what_both_share() -> None:
    rng = RNG(3)
    shared = 5 * rng.normal(size=(3, 1)) + 5 * rng.normal(size=80)
    x, y = (shared + rng.normal(size=(3, 80)) for _ in range(2))
    found = paired(x, y)
    assert found == estimate(x - y)
    assert found is not None
    assert found.half is not None
    assert found.half < 0.7
    assert paired(x, x) == Estimate(0.0, 0.0, 3, 80)
    with pytest.raises(ValueError, match=r"paired values of shapes \(3, 80\) and \(2, 80\): expected the same seeds"):
        paired(x, y[:2])


def test_welch_agrees_with_scipy() -> None:
    x, y = [90.0, 95.0, 92.0, 91.0], [91.0, 96.1, 92.9]
    expected = scipy.stats.ttest_ind(y, x, equal_var=False).confidence_interval()
    first, second = mean_interval(x), mean_interval(y)
    assert first is not None
    assert second is not None
    found = welch(first, second)
    assert found is not None
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.n == 3
    assert welch(first, Estimate(90.0, None, 1)) is None
    assert welch(Estimate(1.0, 0.0, 3), Estimate(2.0, 0.0, 4)) == Estimate(1.0, 0.0, 3)


def test_fieller_in_closed_form() -> None:
    part, gap = np.array([[1.0], [1.2], [0.8]]), np.array([[2.0], [2.2], [1.8]])
    ends = fieller(part, gap)
    assert ends is not None
    t, v = scipy.stats.t.ppf(0.975, 2), 0.04 / 3  # part and gap vary together
    assert sorted(abs((1 - r * 2) / ((1 - r) * math.sqrt(v))) for r in ends) == pytest.approx([t, t])
    assert share_closed(part, gap) == Share(pytest.approx(0.5), ends, 3, 1)


def test_shares_without_ends() -> None:
    gap = np.array([[0.1], [0.3], [-0.2]])
    assert fieller(gap, gap - gap.mean()) is None
    assert fieller([[1.0]], [[2.0]]) is None
    assert fieller([[math.inf, 0.0]], [[2.0, 1.0]]) is None
    assert share_closed([[1.0], [2.0]], [[1.0], [-1.0]]) == Share(None, None, 2, 1)
    found = share_closed(gap, gap + 0.05)
    assert found.value is not None
    assert found.interval is None


@pytest.mark.parametrize(("seeds", "images"), [(4, 1), (3, 200), (5, 200)])
def test_fieller_s_interval_holds_the_share_as_often_as_it_says(seeds: int, images: int) -> None:
    rng, inside, bounded = RNG(seeds), 0, 0
    for _ in range(500):
        gap = 2.0 + 0.2 * rng.normal(size=(seeds, 1)) + rng.normal(size=images) * (images > 1)
        part = 0.6 * gap + 0.1 * rng.normal(size=(seeds, 1)) + 0.5 * rng.normal(size=(seeds, images))
        ends = fieller(part, gap)
        bounded += ends is not None
        inside += ends is not None and ends[0] <= 0.6 <= ends[1]
    assert bounded / 500 > 0.95 or images == 1
    assert 0.92 <= inside / bounded <= 0.98


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"values of shape .*: expected \[seeds, images\], neither of them 0"):
        estimate(np.zeros(shape))


def test_halves_of_many_means_are_those_of_each() -> None:
    rng = np.random.default_rng(3)
    for seeds in (2, 3, 7):
        values = rng.normal(90, 2, (5, seeds))
        values[4] = 1.5
        single = [mean_interval(row) for row in values]
        assert mean_halves(values) == pytest.approx([one.half for one in single if one])
    values[1, 0] = math.inf
    assert np.isnan(mean_halves(values)).tolist() == [False, True, False, False, False]
    assert np.isnan(mean_halves([[1.0], [2.0]])).all()
    assert mean_halves(np.empty((0, 3))).shape == (0,)
