"""Error rates of verdicts: exact where there is a closed form, simulated elsewhere."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from stats.verdicts import MARGIN, bounds, decide, loss_margin
from tests.support.simulation import ALPHAS, APART, CONNECTED, World, rates, table


@pytest.mark.parametrize("alike", [CONNECTED, APART])
def test_the_true_dip_is_the_one_that_is_stated(alike: object) -> None:
    cells = World(90.0, 3.0, 100_000, seeds=1, members=2, alike=alike).draw(np.random.default_rng(0))  # type: ignore[arg-type]
    error = cells.std(axis=3) / math.sqrt(cells.shape[3])
    assert (abs(cells.mean(axis=3) - 4 * ALPHAS * (1 - ALPHAS) * 3.0) < 4 * error).all()
    lost = World(90.0, 3.0, 100_000, seeds=2, members=3, alike=None).draw(np.random.default_rng(0))
    assert lost.shape == (2, 3, 9, 100_000)
    assert lost.mean() == pytest.approx(3.0, abs=0.3)
    assert set(np.unique(lost)) == {0.0, 100.0}


@pytest.mark.parametrize("accuracy", [53.0, 95.0])
def test_a_true_dip_at_the_margin_is_rarely_called_a_basin_or_none(accuracy: float) -> None:
    for images, seeds in ((256, 3), (600, 1)):
        found = rates(World(accuracy, MARGIN, images, seeds), 120)
        assert found.yes <= 0.05
        assert found.no <= 0.05
        below = rates(World(accuracy, 1.0, images, seeds), 30)
        assert below.no <= 0.05


@pytest.mark.parametrize("accuracy", [53.0, 95.0])
def test_three_seeds_of_256_images_certify_what_does_not_dip(accuracy: float) -> None:
    found = rates(World(accuracy, 0.0, 256), 150)
    assert found.yes >= 0.9
    assert found.no <= 0.01
    assert found.old < found.yes  # the rule before: no cell at 2 points or more
    if accuracy == 53.0:
        assert found.old < 0.15


def test_what_dips_by_five_points_is_found_out() -> None:
    found = rates(World(95.0, 5.0, 600), 60)
    assert found.yes == 0
    assert found.no >= 0.9


def false_yes(images: int) -> float:
    """Exact: the number of lost images is binomial, and the bound grows with it."""
    chance = 0.0
    for lost in range(images):
        cells = np.repeat([100.0, 0.0], [lost, images - lost])
        if decide(bounds(cells.reshape(1, 1, 1, -1), worst=100.0, resamples=1), MARGIN).bounds.upper >= MARGIN:
            break
        chance += scipy.stats.binom.pmf(lost, images, MARGIN / 100)
    return chance


@pytest.mark.parametrize(("images", "level"), [(256, 0.036), (600, 0.045), (2000, 0.045), (132, 0.07), (216, 0.07)])
def test_one_sided_flips_have_the_level_of_a_binomial(images: int, level: float) -> None:
    """Every path loses the same images: the hardest case. At 132 and 216 images the binomial's steps cost most."""
    assert level - 0.01 <= false_yes(images) <= level


def test_without_the_added_image_one_sided_flips_would_pass_too_often() -> None:
    rng, plain, ours = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        lost = World(95.0, MARGIN, 256, seeds=1, members=2, alike=None).draw(rng)
        mean, error = lost[0, 0, 0].mean(), lost[0, 0, 0].std(ddof=1) / 16
        plain += mean + 1.645 * error < MARGIN
        ours += bounds(lost, worst=100.0, resamples=1).upper < MARGIN
    assert plain / 1000 > 0.08
    assert ours / 1000 <= 0.05


Draw = Callable[[np.random.Generator, int], np.ndarray]


def gains(rng: np.random.Generator, images: int) -> np.ndarray:
    """Nearly every image loses a little and a few gain much: where these are missed nothing varies."""
    return np.where(rng.random(images) < 0.005, -100.0, 2.5 + 1e-3 * rng.normal(size=images))


def exponential(rng: np.random.Generator, images: int) -> np.ndarray:
    """One image in five carries a loss barrier that is as high as the margin."""
    return np.where(rng.random(images) < 0.2, 5 * loss_margin(10) * rng.exponential(size=images), 0.0)


def test_rare_gains_do_not_refute_a_basin() -> None:
    rng, wrong = np.random.default_rng(0), 0
    for repetition in range(200):
        cells = gains(rng, 256).reshape(1, 1, 1, -1)
        wrong += decide(bounds(cells, worst=100.0, resamples=100, seed=repetition), MARGIN).answer == "no"
    assert gains(rng, 1_000_000).mean() < MARGIN
    assert wrong / 200 <= 0.05


@pytest.mark.parametrize("images", [256, 600])
def test_skewed_losses_at_the_margin_are_rarely_called_a_basin_or_none(images: int) -> None:
    rng, answers = np.random.default_rng(images), []
    for repetition in range(600):
        cells = exponential(rng, images).reshape(1, 1, 1, -1)
        answers.append(decide(bounds(cells, worst=None, resamples=100, seed=repetition), loss_margin(10)).answer)
    assert answers.count("yes") / 600 <= 0.05
    assert answers.count("no") / 600 <= 0.05


def test_the_table_has_a_line_for_each_world() -> None:
    lines = list(table(2, sizes=(50,)))
    assert len(lines) == 2 + 40 + 3
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert any(line.startswith("| one-sided flips | 95 | 2 | 50 | 1 |") for line in lines)
