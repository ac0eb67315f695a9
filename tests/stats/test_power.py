"""Power: predictions against simulated studies, whose intervals are computed in plain NumPy or by `stats.intervals`."""

import numpy as np
import pytest
import scipy.stats

from stats import power
from stats.intervals import estimate
from stats.power import (
    Components,
    estimate_components,
    images_needed,
    judge_design,
    seeds_needed,
)

T_975 = {2: 4.302653, 3: 3.182446, 4: 2.776445, 9: 2.262157}
"""Quantiles of Student's t, from tables."""


def simulate(rng: np.random.Generator, mean: float, parts: Components, seeds: int, images: int) -> np.ndarray:
    """Paired differences [seeds, images] of one study."""
    by_seed = rng.normal(0, parts.seeds**0.5, (seeds, 1))
    by_image = rng.normal(0, parts.images**0.5, (1, images))
    return mean + by_seed + by_image + rng.normal(0, parts.rest**0.5, (seeds, images))


@pytest.mark.parametrize(("seeds", "difference"), [(3, 2.0), (5, 1.5), (10, 1.0)])
def test_over_seeds_alone_it_is_the_power_of_students_test(seeds: int, difference: float) -> None:
    """A plain t test in NumPy on simulated means rejects as often as predicted."""
    rng, studies = np.random.default_rng(seeds), 20_000
    means = difference + rng.normal(0, 1.2, (studies, seeds))
    halves = T_975[seeds - 1] * means.std(axis=1, ddof=1) / seeds**0.5
    rejected = np.mean(np.abs(means.mean(axis=1)) > halves)
    found = judge_design(Components(1.2**2, 0.0, 0.0), difference, seeds, 1)
    assert found.power == pytest.approx(rejected, abs=0.012)
    assert found.half == pytest.approx(T_975[seeds - 1] * 1.2 / seeds**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("parts", "seeds", "images", "difference"),
    [
        (Components(0.5, 400.0, 600.0), 4, 500, 2.0),
        (Components(0.0, 900.0, 100.0), 3, 400, 4.0),
        (Components(2.0, 0.0, 400.0), 6, 300, 2.0),
    ],
)
def test_with_seeds_and_images_it_is_that_of_the_projects_interval(
    parts: Components, seeds: int, images: int, difference: float
) -> None:
    rng, studies = np.random.default_rng(7), 400
    halves, shown = [], 0
    for _ in range(studies):
        found = estimate(simulate(rng, difference, parts, seeds, images))
        assert found.half is not None
        halves.append(found.half)
        shown += abs(found.mean) > found.half
    predicted = judge_design(parts, difference, seeds, images)
    assert 0.2 < predicted.power < 0.99
    assert predicted.power == pytest.approx(shown / studies, abs=0.1)
    assert predicted.half == pytest.approx(np.median(halves), rel=0.15)


def test_the_variances_of_a_large_pilot_are_found_again() -> None:
    parts = Components(0.8, 30.0, 90.0)
    found = estimate_components(simulate(np.random.default_rng(0), 1.0, parts, 300, 400))
    assert found is not None
    assert (found.seeds, found.images, found.rest) == pytest.approx((0.8, 30.0, 90.0), rel=0.2)


def test_the_design_of_the_pilot_has_the_interval_of_the_pilot() -> None:
    """What is predicted for as many seeds and images is what the pilot's own interval says."""
    pilot = simulate(np.random.default_rng(3), 1.0, Components(1.0, 40.0, 60.0), 5, 200)
    components = estimate_components(pilot)
    assert components is not None
    assert judge_design(components, 1.0, 5, 200).half == pytest.approx(estimate(pilot).half)


def test_one_seed_says_nothing_about_seeds() -> None:
    assert estimate_components(np.zeros((1, 50))) is None
    with pytest.raises(ValueError, match="shape"):
        estimate_components(np.zeros(5))
    with pytest.raises(ValueError, match="1 seeds"):
        judge_design(Components(1, 1, 1), 1.0, 1, 100)


def test_the_seeds_needed_are_the_fewest() -> None:
    parts = Components(1.0, 50.0, 100.0)
    seeds = seeds_needed(parts, 1.0, 10_000)
    assert seeds is not None
    powers = [judge_design(parts, 1.0, n, 10_000).power for n in (seeds - 1, seeds)]
    assert powers[0] < 0.8 <= powers[1]


def test_no_number_of_seeds_replaces_images() -> None:
    parts = Components(0.1, 900.0, 100.0)
    assert seeds_needed(parts, 1.0, 100) is None
    images = images_needed(parts, 1.0, 5)
    assert images is not None
    powers = [judge_design(parts, 1.0, 5, n).power for n in (images - 1, images)]
    assert powers[0] < 0.8 <= powers[1]
    with pytest.raises(ValueError, match="0"):
        seeds_needed(parts, 0.0, 100)


def test_without_noise_every_difference_is_seen() -> None:
    assert judge_design(Components(0, 0, 0), 0.1, 2, 10).power == 1
    assert judge_design(Components(0, 0, 0), 0.0, 2, 10).power == 0


def test_power_is_a_number_for_every_shift_and_grows_with_it() -> None:
    """SciPy's non-central t is NaN for some of them."""
    components = Components(seeds=7e-6, images=7e-3, rest=0.13)
    found = [judge_design(components, size, 3, 10_000).power for size in np.linspace(0.0005, 0.2, 200)]
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert found[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("shift", "freedom"), [(0.0, 2.0), (1.0, 2.4), (2.5, 4.0), (3.3, 30.0)])
def test_power_is_that_of_the_non_central_t(shift: float, freedom: float) -> None:
    quantile = float(scipy.stats.t.ppf(0.975, freedom))
    known = scipy.stats.nct.sf(quantile, freedom, shift) + scipy.stats.nct.cdf(-quantile, freedom, shift)
    assert power._exceeds(quantile, shift, freedom) == pytest.approx(known, abs=5e-4)
