"""Bootstrap intervals against scipy's, written-out resampling and their promised coverage."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from cases import answers, predictions, right
from torch import Tensor

from basin.errors import UsageError
from basin.metrics import Metric, metrics
from basin.metrics.bootstrap import Interval, difference, interval, replicates
from basin.seeds import generator

VALUE = Metric("value", "1", "higher", "", lambda p, _: float(p.mean()), per_image=lambda p, _: p[0, :, 0])
SLOW = Metric("slow", "1", "higher", "", lambda p, _: float(p.mean()))


def numbers(values: Tensor) -> Tensor:
    """An ensemble whose `value` is the mean of numbers."""
    return values.double()[None, :, None]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_of(images: int) -> Tensor:
    return torch.zeros(images, dtype=torch.int64)


def test_one_run_is_scipy_s_percentile_bootstrap() -> None:
    values = normal(60, seed=0).exp()
    found = interval(VALUE, [numbers(values)], labels_of(60), resamples=20_000)
    oracle = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found.value == pytest.approx(float(values.mean()))
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.02)


def test_a_paired_difference_is_scipy_s() -> None:
    shared = 5 * normal(80, seed=0)
    a, b = shared + normal(80, seed=1) + 0.3, shared + normal(80, seed=2)
    found = difference(VALUE, [numbers(a)], [numbers(b)], labels_of(80), resamples=20_000)
    oracle = scipy.stats.bootstrap(
        (a.numpy(), b.numpy()),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found.value == pytest.approx(float((a - b).mean()))
    assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=0.02)
    assert found.high - found.low < 1  # unpaired, the shared part would make it 3


def test_seeds_and_images_are_resampled_as_written_out() -> None:
    runs = [predictions(2, 30, seed=s) for s in range(3)]
    labels, metric, resamples = answers(30), metrics()["ece"], 120
    images, seeds = generator("bootstrap images", 7, 30, resamples), generator("bootstrap runs", 7, 3, resamples)
    draws = torch.cat([torch.randint(30, (100, 30), generator=images), torch.randint(30, (20, 30), generator=images)])
    chosen = torch.randint(3, (resamples, 3), generator=seeds)
    means = sorted(
        sum(metric.compute(runs[s][:, row], labels[row]) for s in picked.tolist()) / 3
        for row, picked in zip(draws, chosen, strict=True)
    )
    found = interval(metric, runs, labels, resamples=resamples, seed=7)
    expected = sum(metric.compute(run, labels) for run in runs) / 3
    assert (found.value, found.low, found.high) == pytest.approx((expected, means[3], means[-4]))


@pytest.mark.parametrize("name", [name for name, metric in metrics().items() if metric.per_image])
def test_resampled_values_are_resampled_predictions(name: str) -> None:
    metric, runs, labels = metrics()[name], [predictions(3, 25, seed=s) for s in range(2)], answers(25)
    whole = Metric(metric.name, metric.unit, metric.better, metric.doc, metric.compute)
    fast, slow = (replicates(each, runs, labels, resamples=20, seed=0) for each in (metric, whole))
    assert torch.allclose(fast, slow, rtol=1e-9, atol=1e-12)


def test_more_seeds_are_not_more_images() -> None:
    runs = [numbers(normal(50, seed=0) + shift) for shift in (-3.0, 0.0, 3.0)]
    alone = interval(VALUE, runs[1:2], labels_of(50))
    several = interval(VALUE, runs, labels_of(50))
    assert several.value == pytest.approx(alone.value)
    assert several.high - several.low > 3 * (alone.high - alone.low)
    same = interval(VALUE, runs[1:2] * 3, labels_of(50))
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))


def test_coverage_on_gaussian_images_and_seeds() -> None:
    """Truth 0 within about 95 of 100 intervals; 10 seeds of 50 images with their own offsets."""
    hits = [0, 0]
    for trial in range(200):
        values = normal(10, 50, seed=trial)
        runs = [numbers(row) for row in values + normal(10, 1, seed=1000 + trial)]
        for k, found in enumerate(
            (
                interval(VALUE, runs[:1], labels_of(50), resamples=200, seed=trial),
                interval(VALUE, runs, labels_of(50), resamples=200, seed=trial),
            )
        ):
            truth = float(normal(10, 1, seed=1000 + trial)[0]) if k == 0 else 0.0
            hits[k] += found.low <= truth <= found.high
    assert 0.88 <= hits[0] / 200 <= 0.99
    assert 0.85 <= hits[1] / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    runs, labels = [predictions(2, 40, seed=s) for s in range(2)], answers(40)
    first = interval(metrics()["nll"], runs, labels)
    torch.manual_seed(5)
    assert interval(metrics()["nll"], runs, labels) == first
    assert interval(metrics()["nll"], runs, labels, seed=1) != first


def test_an_ensemble_does_not_differ_from_itself() -> None:
    labels = answers(20)
    runs = [predictions(2, 20), right((labels + 1) % 7)]
    for name in ("accuracy", "nll", "adaptive_ece"):
        assert difference(metrics()[name], runs, runs, labels, resamples=50) == Interval(0, 0, 0)


def test_infinite_losses_give_infinite_ends_and_no_nan() -> None:
    labels = answers(20)
    wrong = right((labels + 1) % 7)
    assert interval(metrics()["nll"], [wrong], labels, resamples=50) == Interval(math.inf, math.inf, math.inf)
    once = right(labels)
    once[:, 0] = wrong[:, 0]
    assert interval(metrics()["nll"], [once], labels) == Interval(math.inf, 0, math.inf)
    found = difference(metrics()["nll"], [predictions(2, 20)], [wrong], labels, resamples=50)
    assert found == Interval(-math.inf, -math.inf, -math.inf)


@pytest.mark.parametrize(("runs", "images", "resamples"), [(0, 5, 5), (1, 0, 5), (1, 5, 0)])
def test_nothing_to_resample_is_refused(runs: int, images: int, resamples: int) -> None:
    with pytest.raises(UsageError, match=rf"{runs} runs on {images} images, {resamples} times: expected 1 or more"):
        interval(SLOW, [predictions(2, images)] * runs, answers(images), resamples=resamples)


def test_a_metric_of_two_splits_is_refused() -> None:
    with pytest.raises(UsageError, match=r"bootstrap of scaled_nll, which needs fit: expected predictions only"):
        interval(metrics()["scaled_nll"], [predictions(2)], answers())


def test_unequal_numbers_of_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"paired runs: expected the same seeds on both sides, got 1 and 2"):
        difference(SLOW, [predictions(2)], [predictions(2)] * 2, answers())
