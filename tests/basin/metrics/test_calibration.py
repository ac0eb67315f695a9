"""Calibration and temperature against scikit-learn, torchmetrics, brute force and closed forms."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from torch.nn import functional as F

from basin.metrics import score_predictions
from basin.metrics.calibration import (
    BINS,
    Bin,
    adaptive_ece,
    binned_gap,
    ece,
    mass_edges,
    reliability_table,
    width_edges,
)
from basin.metrics.prediction import ensemble_log_probs, nll
from basin.metrics.temperature import (
    BOUNDS,
    calibrated_log_likelihood,
    calibrated_nlls,
    fit_temperature,
    scaled_nll,
    temperature,
    tempered_nll,
)
from basin.seeds import make_generator
from tests.support.metric_cases import answers, drawn, predictions, right


def test_bins_hold_their_upper_end() -> None:
    confidence = torch.tensor([0.0, 0.25, 0.25000001, 0.5, 0.75, 1.0], dtype=torch.float64)
    gaps = binned_gap(confidence, torch.zeros(6, dtype=torch.bool), width_edges(4))
    assert gaps.tolist() == pytest.approx([0.25 / 6, 0.75000001 / 6, 0.75 / 6, 1 / 6])


def test_a_bin_s_errors_cancel_but_bins_do_not() -> None:
    confidence = torch.tensor([0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
    correct = torch.tensor([True, False, True, True])
    assert float(binned_gap(confidence, correct, width_edges(2)).sum()) == pytest.approx(abs(3.0 - 3) / 4)
    assert float(binned_gap(confidence, correct, width_edges(4)).sum()) == pytest.approx((0.8 + 0.8) / 4)


@pytest.mark.parametrize("images", [1, 7, 15, 16, 200])
def test_adaptive_ece_is_that_of_sorted_equal_groups(images: int) -> None:
    log_probs = predictions(3, images)
    labels = drawn(ensemble_log_probs(log_probs))  # gaps of both signs: otherwise all bins give the same sum
    confidence, predicted = log_probs.exp().mean(dim=0).max(dim=1)
    order = confidence.argsort()
    # Groups end at rank ⌈bN/15⌉.
    ends = [math.ceil(b * images / BINS) for b in range(BINS + 1)]
    groups = [order[a:b] for a, b in pairwise(ends)]
    gaps = [abs(float((confidence[g] - (predicted[g] == labels[g]).double()).sum())) for g in groups]
    assert adaptive_ece(log_probs, labels) == pytest.approx(100 * sum(gaps) / images)


def test_adaptive_bins_hold_equally_many() -> None:
    confidence = torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    place = torch.bucketize(confidence, mass_edges(confidence, BINS))
    assert sorted(place.bincount(minlength=BINS).tolist()) == [6] * 5 + [7] * 10


def test_adaptive_ece_does_not_depend_on_the_order_of_tied_images() -> None:
    log_probs = torch.log_softmax(torch.tensor([[[2.0, 0]] * 20 + [[1.0, 0]] * 20]).double(), dim=2)
    labels = torch.tensor([0, 1] * 10 + [0, 0, 0, 1] * 5)
    orders = [torch.randperm(40, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    sure = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))]
    expected = 50 * (abs(sure[0] - 0.5) + abs(sure[1] - 0.75))
    for order in orders:
        assert adaptive_ece(log_probs[:, order], labels[order]) == pytest.approx(expected)


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_is_scikit_learn_s_calibration_curve(binning: str, strategy: str) -> None:
    log_probs, labels = predictions(2, 400, 3), answers(400, 3)
    confidence, predicted = log_probs.exp().mean(dim=0).max(dim=1)
    rows = [row for row in reliability_table(log_probs, labels, bins=4) if row.binning == binning]
    fraction, mean = calibration_curve((predicted == labels).numpy(), confidence.numpy(), n_bins=4, strategy=strategy)
    assert [row.accuracy for row in rows if row.count] == pytest.approx(100 * fraction, abs=1e-6)
    assert [row.confidence for row in rows if row.count] == pytest.approx(100 * mean, abs=1e-6)


@pytest.mark.parametrize(("binning", "whole"), [("width", ece), ("mass", adaptive_ece)])
@pytest.mark.parametrize("images", [1, 40])
def test_the_reliability_table_adds_up(binning: str, whole: Callable[..., float], images: int) -> None:
    log_probs, labels = predictions(2, images), answers(images)
    rows = [row for row in reliability_table(log_probs, labels) if row.binning == binning]
    assert [row.bin for row in rows] == list(range(BINS))
    assert sum(row.count for row in rows) == images
    assert rows[0].lo == 0
    assert rows[-1].hi == 100
    assert all(a.hi == b.lo for a, b in pairwise(rows))
    gaps = [row.count * abs(row.confidence - row.accuracy) for row in rows if row.confidence is not None]
    assert sum(gaps) / images == pytest.approx(whole(log_probs, labels))
    assert all((row.confidence is None) == (row.accuracy is None) == (row.count == 0) for row in rows)


def test_certainty_fills_the_last_bin_and_ties_the_first() -> None:
    labels = torch.tensor([0, 1, 1, 1])
    rows = reliability_table(right(torch.zeros(4, dtype=torch.int64)), labels)
    assert [row for row in rows if row.count] == [
        Bin("width", 14, 100 * float(width_edges(15)[-1]), 100.0, 4, 100.0, 25.0),
        Bin("mass", 0, 0.0, 100.0, 4, 100.0, 25.0),
    ]


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.3, 4), st.integers(2, 6))
def test_a_tempered_truth_gives_its_temperature_back(seed: int, tempered: float, classes: int) -> None:
    # Soft labels written out: each class of an image as often as its probability says, in 1000ths.
    truth = torch.log_softmax(torch.randn(4, classes, generator=torch.Generator().manual_seed(seed)).double(), dim=1)
    counts = (truth.exp() * 1000).round().long() + 1
    exact = (counts.double() / counts.sum(dim=1, keepdim=True)).log()
    images = torch.arange(4).repeat_interleave(counts.sum(dim=1))
    labels = torch.cat([torch.arange(classes).repeat_interleave(row) for row in counts])
    assert fit_temperature(exact[images] * tempered, labels) == pytest.approx(tempered, rel=1e-4)


@pytest.mark.parametrize("scale", [0.5, 2, 8])
def test_the_temperature_is_where_the_derivative_vanishes(scale: float) -> None:
    ensemble = ensemble_log_probs(predictions(3, scale=scale))
    labels = drawn(torch.log_softmax(ensemble / 1.5, dim=1))

    def slope(beta: float) -> float:
        scaled = torch.log_softmax(beta * ensemble, dim=1).exp()
        return float(((scaled * ensemble).sum(dim=1) - ensemble.gather(1, labels[:, None])[:, 0]).mean())

    assert fit_temperature(ensemble, labels) == pytest.approx(1 / brentq(slope, 1e-3, 1e3, xtol=1e-12), rel=1e-5)


def test_temperature_at_the_ends() -> None:
    labels = answers(50)
    sure = torch.log_softmax(3 * F.one_hot(labels, 7).double(), dim=1)
    assert tempered_nll(sure, labels, fit_temperature(sure, labels)) == pytest.approx(0, abs=1e-12)
    wrong = torch.log_softmax(3 * F.one_hot((labels + 1) % 7, 7).double(), dim=1)
    assert fit_temperature(wrong, labels) == pytest.approx(BOUNDS[1], rel=1e-4)
    uniform = torch.full((50, 7), 1 / 7, dtype=torch.float64).log()
    assert fit_temperature(uniform, labels) == 1
    single = torch.zeros(50, 1, dtype=torch.float64)
    assert fit_temperature(single, torch.zeros(50, dtype=torch.int64)) == 1


def test_probability_0_at_a_label_is_left_out_of_the_fit_and_not_of_the_loss() -> None:
    ensemble, labels = ensemble_log_probs(predictions(2)), answers()
    expected = fit_temperature(ensemble[1:], labels[1:])
    spoilt = ensemble.clone()
    spoilt[0] = right((labels[:1] + 1) % 7, members=1)[0, 0]
    assert fit_temperature(spoilt, labels) == expected
    assert scaled_nll(spoilt[None], labels, fit=(spoilt[None], labels)) == math.inf
    assert calibrated_log_likelihood(spoilt[None], labels) == -math.inf
    certain = right((labels + 1) % 7)
    assert temperature(certain, labels) == 1
    assert calibrated_log_likelihood(certain, labels) == -math.inf


def test_certain_and_right_has_no_loss() -> None:
    labels = answers()
    assert temperature(right(labels), labels) == 1
    assert calibrated_log_likelihood(right(labels), labels) == 0
    assert scaled_nll(right(labels), labels, fit=(right(labels), labels)) == 0


def test_tempered_nll_is_scikit_learn_s_log_loss() -> None:
    ensemble, labels = ensemble_log_probs(predictions(3)), answers()
    probs = torch.softmax(ensemble / 1.7, dim=1)
    assert tempered_nll(ensemble, labels, 1.7) == pytest.approx(log_loss(labels, probs, labels=range(7)))
    assert tempered_nll(ensemble, labels, 1) == pytest.approx(nll(predictions(3), labels))


def test_scaled_nll_takes_its_temperature_from_the_other_split() -> None:
    fit, held = (predictions(3, seed=1, scale=6), answers(seed=1)), (predictions(3, seed=2), answers(seed=2))
    best = fit_temperature(ensemble_log_probs(fit[0]), fit[1])
    assert scaled_nll(*held, fit=fit) == tempered_nll(ensemble_log_probs(held[0]), held[1], best)
    assert scaled_nll(*held, fit=fit) > scaled_nll(*held, fit=held)
    assert scaled_nll(*fit, fit=fit) < nll(*fit)
    assert score_predictions(*held, final=True, fit=fit)["scaled_nll"] == scaled_nll(*held, fit=fit)


@pytest.mark.parametrize("images", [2, 3, 201])
def test_calibrated_log_likelihood_is_a_slow_five_times_two_folds(images: int) -> None:
    log_probs, labels = predictions(2, images, seed=4), answers(images, seed=4)
    ensemble = log_probs.exp().mean(dim=0).log()
    draw, found = make_generator("calibrated_log_likelihood", images), []
    each: dict[int, list[float]] = {image: [] for image in range(images)}
    for _ in range(5):
        order = torch.randperm(images, generator=draw)
        halves = [order[: (images + 1) // 2], order[(images + 1) // 2 :]]
        for fitted, held in (halves, halves[::-1]):
            best = fit_temperature(ensemble[fitted], labels[fitted])
            found.append(-F.cross_entropy(ensemble[held] / best, labels[held]))
            for image in held.tolist():
                loss = float(F.cross_entropy(ensemble[image : image + 1] / best, labels[image : image + 1]))
                each[image].append(loss * images / 2 / len(held))
    assert calibrated_log_likelihood(log_probs, labels) == pytest.approx(float(torch.stack(found).mean()))
    assert calibrated_nlls(ensemble, labels).tolist() == pytest.approx([sum(own) / 5 for own in each.values()])


def test_calibrated_log_likelihood_is_near_that_of_scikit_learn_s_folds_and_does_not_drift() -> None:
    log_probs, labels = predictions(3, 300, scale=3), answers(300)
    ensemble = ensemble_log_probs(log_probs)

    def folds(seed: int) -> float:
        found = []
        for repeat in range(5):
            for fitted, held in KFold(2, shuffle=True, random_state=10 * seed + repeat).split(ensemble):
                best = fit_temperature(ensemble[fitted], labels[fitted])
                found.append(-tempered_nll(ensemble[held], labels[held], best))
        return float(np.mean(found))

    others = [folds(seed) for seed in range(4)]
    torch.manual_seed(1)
    first = calibrated_log_likelihood(log_probs, labels)
    torch.manual_seed(2)
    torch.randn(3)
    assert calibrated_log_likelihood(log_probs, labels) == first
    assert len({first, *others}) == 5  # other folds give another number: an unseeded draw would show
    assert first == pytest.approx(np.mean(others), abs=0.01)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    moved = calibrated_log_likelihood(log_probs[:, order], labels[order])
    assert moved == calibrated_log_likelihood(log_probs[:, order], labels[order]) == pytest.approx(first, abs=0.01)


def test_a_single_image_has_no_halves() -> None:
    log_probs, labels = predictions(2, 1), answers(1)
    assert calibrated_log_likelihood(log_probs, labels) == pytest.approx(-nll(log_probs, labels))
