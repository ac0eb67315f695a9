"""Verdicts against plain loops, and the odd cases: no variance, no numbers, one image."""

import math
import statistics
import time
from itertools import product

import numpy as np
import pytest
import scipy.stats

from stats.verdicts import MARGIN, Bounds, answer, bounds, decide, loss_margin


def flips(shape: tuple[int, ...], down: float = 0.1, up: float = 0.1, seed: int = 0) -> np.ndarray:
    """Shortfalls in accuracy points of images that turn wrong or right."""
    draws = np.random.default_rng(seed).random(shape)
    return np.where(draws < down, 100.0, np.where(draws > 1 - up, -100.0, 0.0))


def slow_upper(values: list[float], worst: float) -> float:
    extended = [*values, worst]
    error = statistics.stdev(extended) / math.sqrt(len(extended))
    return statistics.fmean(extended) + scipy.stats.t.ppf(0.95, len(extended) - 1) * error


def slow_low(
    cells: dict[tuple[int, ...], list[float]], worst: float, resamples: int, seed: int, level: float = 0.95
) -> dict:
    """Lower bound of every cell, one resample and one cell after another."""
    draws, images = np.random.default_rng(seed), len(next(iter(cells.values())))

    def both(values: list[float]) -> tuple[float, float]:
        extended = [*values, -worst]
        return statistics.fmean(extended), statistics.stdev(extended) / math.sqrt(len(extended))

    largest = []
    for _ in range(resamples):
        chosen = draws.integers(images, size=images)
        moved = []
        for values in cells.values():
            mean, error = both([values[n] for n in chosen])
            moved.append((mean - both(values)[0]) / error)
        largest.append(max(moved))
    quantile = sorted(largest)[math.ceil(level * (resamples + 1)) - 1]
    quantile = max(quantile, scipy.stats.t.ppf(level, images))
    return {place: both(values)[0] - quantile * both(values)[1] for place, values in cells.items()}


def test_the_upper_bound_is_that_of_a_plain_loop() -> None:
    data = flips((3, 2, 4, 50)) + np.random.default_rng(1).normal(0, 5, (3, 2, 4, 50))
    averages = [
        [statistics.fmean(data[s, p, a, n] for s, p in product(range(3), range(2))) for n in range(50)]
        for a in range(4)
    ]
    found = bounds(data, worst=100.0, resamples=20)
    assert found.upper == pytest.approx(max(slow_upper(values, 100.0) for values in averages))
    assert (found.seeds, found.images) == (3, 50)
    every = bounds(data, worst=100.0, resamples=20, every_pair=True)
    cells = product(range(3), range(2), range(4))
    assert every.upper == pytest.approx(max(slow_upper(data[cell].tolist(), 100.0) for cell in cells))
    assert every.upper > found.upper
    assert every.lower == found.lower


def test_the_lower_bounds_are_those_of_a_plain_loop() -> None:
    data = flips((2, 3, 2, 30), seed=3)
    data[1, 2, 0] += 30.0
    data[0, 1] = 0.0
    data[0, 2, 1] = 5.0  # no variance
    cells = {place: data[place].tolist() for place in product(range(2), range(3), range(2))}
    expected = slow_low(cells, 100.0, 60, seed=4)
    found = bounds(data, worst=100.0, resamples=60, seed=4)
    assert found.lower == pytest.approx(max(expected.values()), rel=1e-9)
    means = {place: statistics.fmean(values) for place, values in cells.items()}
    assert found.weakest == max(means, key=lambda place: means[place])
    assert found.weakest_mean == pytest.approx(means[found.weakest])
    mirrored = {place: [-v for v in values] for place, values in cells.items()}
    low, high = (slow_low(of, 100.0, 60, seed=4, level=0.975)[found.weakest] for of in (cells, mirrored))
    assert (found.weakest_low, found.weakest_high) == pytest.approx((low, -high), rel=1e-9)
    assert found.weakest_low < expected[found.weakest]  # each end of a two-sided interval has half of the error


def test_the_weakest_cell_is_the_one_that_loses_most_and_not_the_surest() -> None:
    """Cell 0 loses 10 points of noise; cell 1 loses 6 on every image, and has the larger lower bound."""
    data = np.zeros((1, 2, 1, 400))
    data[0, 0, 0] = 10 + np.tile([90.0, -90.0], 200)
    data[0, 1, 0] = 6.0
    found = bounds(data, worst=100.0)
    assert found.weakest == (0, 0, 0)
    assert found.weakest_mean == pytest.approx(10)
    assert found.weakest_low < found.lower
    assert 5 < found.lower < 6


def test_the_interval_of_the_weakest_cell_covers_its_mean_in_95_of_100() -> None:
    """One cell, normal values: the interval is Student's two-sided one, but for the added images."""
    draws = np.random.default_rng(8).normal(3.0, 20.0, (300, 400))
    inside = []
    for values in draws:
        found = bounds(values[None, None, None], worst=100.0, resamples=200)
        inside.append(found.weakest_low <= 3.0 <= found.weakest_high)
    assert 0.93 <= statistics.fmean(inside) <= 0.995  # 0.90 would be the interval of two one-sided bounds


def test_the_upper_bound_of_the_average_may_be_below_the_lower_bound_of_one_cell() -> None:
    data = np.zeros((1, 28, 1, 2000))
    data[0, 3] = 20.0
    found = bounds(data, worst=100.0)
    assert found.upper < found.lower


def test_losses_take_their_extremes_from_the_values() -> None:
    data = np.random.default_rng(5).normal(0.1, 0.3, (2, 2, 1, 40))
    averages = data.mean(axis=(0, 1))[0].tolist()
    found = bounds(data, worst=None, resamples=30)
    assert found.upper == pytest.approx(slow_upper(averages, data.max()))
    cells = {place: data[place].tolist() for place in product(range(2), range(2), range(1))}
    assert found.lower == pytest.approx(max(slow_low(cells, -data.min(), 30, seed=0).values()), rel=1e-9)


def test_one_network_never_falls_short() -> None:
    """All shortfalls 0: what is left is the added image, and it decides nothing at enough images."""
    found = bounds(np.zeros((1, 6, 9, 256)), worst=100.0)
    assert found.weakest_mean == 0
    assert found.upper == pytest.approx(100 / 257 * (1 + scipy.stats.t.ppf(0.95, 256)))
    assert found.lower == pytest.approx(-found.upper)
    assert decide(found, MARGIN).answer == "yes"
    few = decide(bounds(np.zeros((1, 6, 9, 50)), worst=100.0), MARGIN)
    assert few.answer == "undecided"
    assert few.needed is not None
    assert decide(bounds(np.zeros((1, 1, 1, few.needed)), worst=100.0), MARGIN).answer == "yes"
    assert decide(bounds(np.zeros((1, 1, 1, few.needed - 1)), worst=100.0), MARGIN).answer == "undecided"
    losses = bounds(np.zeros((1, 6, 9, 256)), worst=None)
    assert (losses.upper, losses.lower) == (0, 0)
    assert decide(losses, loss_margin(10)).answer == "yes"


def test_cells_without_variance_say_no_more_than_their_images_allow() -> None:
    assert decide(bounds(np.full((1, 1, 1, 1), 100.0), worst=100.0), MARGIN).answer == "undecided"
    assert decide(bounds(np.full((1, 1, 1, 100), 100.0), worst=100.0), MARGIN).answer == "no"
    assert decide(bounds(np.full((1, 1, 1, 40), 2.5), worst=100.0), MARGIN).answer == "undecided"


def test_one_bad_pair_is_not_averaged_away() -> None:
    data = np.zeros((3, 28, 9, 256))
    data[1, 7, 4] = flips((256,), down=0.3, up=0.0)
    found = decide(bounds(data, worst=100.0), MARGIN)
    assert found.bounds.upper < MARGIN < found.bounds.lower
    assert found.answer == "no"
    assert found.bounds.weakest == (1, 7, 4)
    assert found.bounds.weakest_low < found.bounds.weakest_mean < found.bounds.weakest_high


def test_answers_from_two_numbers() -> None:
    assert answer(1.9, -1.0, 2.0) == "yes"
    assert answer(2.0, 2.0, 2.0) == "undecided"
    assert answer(1.0, 2.1, 2.0) == "no"
    assert answer(math.inf, -3.0, 2.0) == "undecided"


def test_needed_images_decide_at_the_same_mean_and_variance() -> None:
    sample = flips((1, 2, 3, 100), 0.05, 0.05, seed=6)
    sample[:, :, :, 0] -= sample.mean(axis=3) * 100  # a mean of exactly 0
    verdict = decide(bounds(sample, worst=100.0), MARGIN)
    assert verdict.answer == "undecided"
    needed = verdict.needed
    assert needed is not None
    repeated = np.tile(sample, -(-needed // 100))
    found = bounds(repeated, worst=100.0, resamples=50)
    assert found.images - 100 < needed <= found.images
    assert decide(found, MARGIN).answer == "yes"
    tilted = np.tile(np.repeat([100.0, 0.0], [5, 95]), (1, 1, 1, 2))
    undecided = decide(bounds(tilted, worst=100.0), MARGIN)
    assert undecided.needed is not None
    assert decide(bounds(np.tile(tilted, -(-undecided.needed // 200) + 1), worst=100.0), MARGIN).answer == "no"


def test_a_mean_at_the_margin_is_never_decided() -> None:
    data = np.zeros((1, 1, 1, 100))
    data[..., :2] = 100.0
    verdict = decide(bounds(data, worst=100.0), MARGIN)
    assert (verdict.answer, verdict.needed) == ("undecided", None)
    assert Bounds(3.0, -1.0, (0, 0, 0), 1.0, -1.0, 3.0, 1, 100).needed_for(MARGIN) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("worst", [100.0, None])
def test_values_that_are_not_finite_certify_nothing(value: float, worst: float | None) -> None:
    data = flips((1, 2, 2, 300), 0.2, 0.2)
    data[0, 0, 0, 0] = value
    found = bounds(data, worst=worst)
    assert found.upper == math.inf
    assert found.weakest_high == math.inf
    assert found.lower == bounds(np.nan_to_num(data, nan=-100, posinf=100, neginf=-100), worst=worst or 100.0).lower
    assert decide(found, MARGIN).answer == "undecided"
    nothing = bounds(np.full((1, 1, 1, 9), value), worst=None)
    assert (nothing.upper, nothing.lower) == (math.inf, 0.0)


def test_infinite_losses_are_no_basin_where_many_images_have_them() -> None:
    data = np.full((1, 1, 1, 400), math.inf)
    assert decide(bounds(data, worst=10.0), loss_margin(10)).answer == "no"


def test_bounds_are_a_function_of_values_and_seed() -> None:
    data = flips((2, 6, 9, 200))
    first = bounds(data, worst=100.0)
    np.random.default_rng(9).random(3)
    assert bounds(data, worst=100.0) == first
    assert bounds(data, worst=100.0, seed=1).lower != first.lower


def test_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are exact, so that their order, which threads and processors choose, does not matter."""
    data = np.random.default_rng(8).normal(size=(2, 3, 5, 100))
    whole = bounds(data, worst=None)
    monkeypatch.setattr("stats.verdicts.WEIGHTS_AT_ONCE", 700)
    monkeypatch.setattr("stats.verdicts.CELLS_AT_ONCE", 7)
    assert bounds(data, worst=None) == whole


def test_a_trial_waits_no_third_of_a_second() -> None:
    data = flips((1, 6, 9, 600))
    began = time.perf_counter()
    bounds(data, worst=100.0)
    assert time.perf_counter() - began < 2.0  # 0.03 s on an idle core


@pytest.mark.parametrize("shape", [(3, 4), (1, 0, 9, 100), (1, 1, 1, 0)])
def test_nothing_to_bound_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shortfalls of shape .*: expected \[seeds, pairs, alphas, images\]"):
        bounds(np.zeros(shape), worst=100.0)


@pytest.mark.parametrize("worst", [0.0, -1.0, math.inf, math.nan])
def test_a_worst_value_that_is_none_is_refused(worst: float) -> None:
    with pytest.raises(ValueError, match=r"worst=.*: expected a positive number, or None"):
        bounds(np.zeros((1, 1, 1, 5)), worst=worst)


def test_the_loss_margin_is_two_percent_of_guessing() -> None:
    assert loss_margin(10) == pytest.approx(0.04605, abs=1e-5)
    with pytest.raises(ValueError, match="a loss margin for 1 classes: expected 2 or more"):
        loss_margin(1)


@pytest.mark.parametrize("exponent", [-40, 3, 200])
def test_bounds_scale_with_the_losses(exponent: int) -> None:
    """Losses of a network that is far off may be large: no square leaves the range of floats."""
    cells = np.random.default_rng(5).normal(size=(2, 3, 4, 50)) + 0.3
    plain, scaled = bounds(cells, worst=None), bounds(cells * 2.0**exponent, worst=None)
    assert (scaled.upper, scaled.lower) == (plain.upper * 2.0**exponent, plain.lower * 2.0**exponent)
    assert (scaled.weakest, scaled.quantile) == (plain.weakest, plain.quantile)
