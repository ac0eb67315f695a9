"""Each metric against torchmetrics or a slow direct computation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from basin.metrics import all_metrics, score_predictions
from basin.metrics.calibration import ece
from basin.metrics.diversity import disagreement
from basin.metrics.prediction import (
    accuracy,
    brier,
    ensemble_log_probs,
    jensen_gap,
    member_accuracies,
    member_best_accuracy,
    member_mean_accuracy,
    member_mean_nll,
    member_nlls,
    member_worst_accuracy,
    nll,
)
from tests.support.metric_cases import answers, drawn, predictions, right


def test_every_metric_has_a_unit_and_one_line_of_meaning() -> None:
    for name, metric in all_metrics().items():
        assert metric.name == name
        assert metric.doc.endswith("."), name
        assert metric.unit in ("%", "nats", "1")
        assert metric.better in ("higher", "lower", "neither")


def test_float32_predictions_are_scored_in_float64() -> None:
    log_probs, labels = predictions(3).float(), answers()
    assert score_predictions(log_probs, labels) == score_predictions(log_probs.double(), labels)


@pytest.mark.parametrize("members", [1, 4])
def test_accuracy_is_torchmetrics(members: int) -> None:
    log_probs, labels = predictions(members), answers()
    oracle = MulticlassAccuracy(num_classes=7, average="micro")
    assert accuracy(log_probs, labels) == pytest.approx(100 * float(oracle(log_probs.exp().mean(dim=0), labels)))
    each = [100 * float(MulticlassAccuracy(num_classes=7, average="micro")(one, labels)) for one in log_probs.exp()]
    assert member_accuracies(log_probs, labels).tolist() == pytest.approx(each)


@pytest.mark.parametrize("scale", [0.1, 1, 5])
@pytest.mark.parametrize("members", [1, 4])
def test_ece_is_torchmetrics(members: int, scale: float) -> None:
    log_probs = predictions(members, scale=scale)
    labels = drawn(ensemble_log_probs(log_probs))
    oracle = MulticlassCalibrationError(num_classes=7, n_bins=15, norm="l1")
    assert ece(log_probs, labels) == pytest.approx(100 * float(oracle(log_probs.exp().mean(dim=0), labels)), abs=1e-4)


def test_certain_and_right() -> None:
    labels = answers()
    found = score_predictions(right(labels), labels)
    assert found["accuracy"] == found["member_worst_accuracy"] == 100
    zeros = ("nll", "member_mean_nll", "jensen_gap", "brier", "ece", "disagreement")
    assert [found[name] for name in zeros] == pytest.approx([0] * 6, abs=1e-12)


def test_certain_and_wrong() -> None:
    labels = answers()
    log_probs = right((labels + 1) % 7)
    assert accuracy(log_probs, labels) == 0
    assert nll(log_probs, labels) == math.inf
    assert brier(log_probs, labels) == pytest.approx(2)
    assert ece(log_probs, labels) == pytest.approx(100)


def test_one_certain_and_wrong_member_spoils_its_own_loss_only() -> None:
    labels = answers()
    log_probs = torch.cat([right(labels, members=1), right((labels + 1) % 7, members=1)])
    assert nll(log_probs, labels) == pytest.approx(math.log(2))
    assert member_mean_nll(log_probs, labels) == math.inf
    assert jensen_gap(log_probs, labels) == math.inf
    assert disagreement(log_probs, labels) == 100
    assert member_nlls(log_probs, labels).tolist() == pytest.approx([0, math.inf])


def test_ties_go_to_the_first_class() -> None:
    log_probs = torch.full((2, 3, 4), 0.25, dtype=torch.float64).log()
    labels = torch.tensor([0, 1, 0])
    assert accuracy(log_probs, labels) == pytest.approx(200 / 3)
    assert nll(log_probs, labels) == pytest.approx(math.log(4))
    assert ece(log_probs, labels) == pytest.approx(100 * (2 / 3 - 1 / 4))
    assert disagreement(log_probs, labels) == 0


def test_one_class_always_predicted() -> None:
    labels = torch.tensor([0] * 5 + [3] * 5)
    log_probs = right(torch.zeros(10, dtype=torch.int64))
    assert accuracy(log_probs, labels) == 50
    assert ece(log_probs, labels) == pytest.approx(50)
    assert brier(log_probs, labels) == pytest.approx(1)


def test_a_single_member_is_the_ensemble() -> None:
    log_probs, labels = predictions(1), answers()
    found = score_predictions(log_probs, labels)
    assert torch.equal(ensemble_log_probs(log_probs), log_probs[0])
    same = [found[f"member_{which}_accuracy"] for which in ("mean", "best", "worst")]
    assert same == pytest.approx([found["accuracy"]] * 3)
    assert found["jensen_gap"] == pytest.approx(0, abs=1e-15)
    assert found["disagreement"] == 0


def test_best_and_worst_member() -> None:
    labels = answers()
    log_probs = torch.cat([right(labels, members=1), right((labels + 1) % 7, members=1)])
    assert member_best_accuracy(log_probs, labels) == 100
    assert member_worst_accuracy(log_probs, labels) == 0
    assert member_mean_accuracy(log_probs, labels) == 50


def test_extreme_log_probabilities_do_not_underflow() -> None:
    log_probs = torch.tensor([[[0.0, -2000.0]], [[0.0, -2000.0]]], dtype=torch.float64)
    labels = torch.tensor([1])
    assert nll(log_probs, labels) == pytest.approx(2000)
    assert jensen_gap(log_probs, labels) == pytest.approx(0, abs=1e-9)


@given(st.integers(1, 6), st.integers(1, 20), st.integers(2, 5), st.integers(0, 2**32), st.floats(0, 50))
def test_what_holds_for_all_predictions(members: int, images: int, classes: int, seed: int, scale: float) -> None:
    log_probs = predictions(members, images, classes, seed, scale)
    labels = answers(images, classes, seed)
    found = score_predictions(log_probs, labels)
    assert found["jensen_gap"] >= -1e-9
    assert 0 <= found["brier"] <= 2
    assert 0 <= found["ece"] <= 100 + 1e-9
    assert 0 <= found["disagreement"] <= 100
    ordered = [found[f"member_{which}_accuracy"] for which in ("worst", "mean", "best")]
    assert ordered[0] - 1e-9 <= ordered[1] <= ordered[2] + 1e-9
    shuffled = log_probs[torch.randperm(members, generator=torch.Generator().manual_seed(seed))]
    again = score_predictions(shuffled, labels)
    jumping = {"accuracy", "ece", "normalised_disagreement"}  # where rounding decides a tie or a bin's edge
    for name in found.keys() - jumping:
        assert again[name] == pytest.approx(found[name], rel=1e-9, abs=1e-9)
