"""What holds for every metric, and what `score` computes when."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from basin.metrics import all_metrics, metric, score_predictions
from basin.metrics.prediction import ensemble_log_probs
from basin.metrics.temperature import tempered_nll
from tests.support.metric_cases import DEGENERATE, answers, drawn, predictions, slow

FINAL = {name for name, found in all_metrics().items() if found.final}
NEEDY = {name for name, found in all_metrics().items() if found.needs}
FITTED = {"temperature", "scaled_nll", "calibrated_log_likelihood"}
"""Against oracles of their own in test_metrics_calibration.py."""


def everything(log_probs: Tensor, labels: Tensor, ood: Tensor) -> dict[str, float]:
    """Every metric that needs no temperature."""
    found = score_predictions(log_probs, labels, final=True, fit=(log_probs, labels), ood=ood)
    assert found.keys() == all_metrics().keys()
    return {name: value for name, value in found.items() if name not in FITTED}


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("scale", [0.1, 2, 10])
@pytest.mark.parametrize("calibrated", [True, False])
def test_every_metric_is_the_slow_one(members: int, scale: float, calibrated: bool) -> None:
    log_probs, ood = predictions(members, scale=scale), predictions(members, 60, seed=1)
    labels = drawn(ensemble_log_probs(log_probs)) if calibrated else answers()
    assert everything(log_probs, labels, ood) == pytest.approx(slow(log_probs, labels, ood), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("images", [1, 2, 30])
def test_every_metric_is_the_slow_one_at_the_edges(case: str, images: int) -> None:
    log_probs, labels = DEGENERATE[case](images)
    for ood in (log_probs, torch.zeros_like(log_probs).log_softmax(dim=2)):
        assert everything(log_probs, labels, ood) == pytest.approx(slow(log_probs, labels, ood), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("case", DEGENERATE)
def test_fitted_temperatures_are_the_best_of_a_grid_at_the_edges(case: str) -> None:
    log_probs, labels = DEGENERATE[case](30)
    ensemble = ensemble_log_probs(log_probs)
    possible = ensemble.gather(1, labels[:, None])[:, 0] > -math.inf
    found = all_metrics()["temperature"].compute(log_probs, labels)
    if not possible.any():
        assert found == 1
        return
    grid = [tempered_nll(ensemble[possible], labels[possible], t) for t in torch.logspace(-2, 2, 401).tolist()]
    assert tempered_nll(ensemble[possible], labels[possible], found) <= min(grid) + 1e-6


def test_expensive_metrics_wait_for_the_end() -> None:
    log_probs, labels = predictions(2), answers()
    assert score_predictions(log_probs, labels).keys() == all_metrics().keys() - FINAL - NEEDY
    assert score_predictions(log_probs, labels, final=True).keys() == all_metrics().keys() - NEEDY
    everything = score_predictions(log_probs, labels, final=True, fit=(log_probs, labels), ood=log_probs)
    assert everything.keys() == all_metrics().keys()
    assert {"calibrated_log_likelihood", "temperature", "scaled_nll"} <= FINAL


@pytest.mark.parametrize("name", all_metrics())
def test_a_metric_is_a_function_of_its_module(name: str) -> None:
    found = all_metrics()[name]
    assert getattr(inspect.getmodule(found.compute), name) is found.compute
    assert set(found.needs) <= {"fit", "ood"}


@pytest.mark.parametrize("name", all_metrics())
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("images", [1, 30])
def test_no_metric_is_ever_not_a_number(name: str, case: str, images: int) -> None:
    found = all_metrics()[name]
    log_probs, labels = DEGENERATE[case](images)
    given = {"fit": (log_probs, labels), "ood": log_probs}
    value = found.compute(log_probs, labels, **{need: given[need] for need in found.needs})
    assert isinstance(value, float)
    assert not math.isnan(value)
    if math.isinf(value):
        assert "inf" in (found.compute.__doc__ or "")


@pytest.mark.parametrize("name", [name for name, found in all_metrics().items() if found.per_image])
def test_an_image_mean_is_the_mean_of_its_images(name: str) -> None:
    found, log_probs, labels = all_metrics()[name], predictions(3, 12), answers(12)
    alone = [found.compute(log_probs[:, [n]], labels[[n]]) for n in range(12)]
    assert found.compute(log_probs, labels) == pytest.approx(sum(alone) / 12)


def test_one_class_only_and_two() -> None:
    labels = torch.zeros(5, dtype=torch.int64)
    found = score_predictions(
        torch.zeros(2, 5, 1), labels, final=True, fit=(torch.zeros(2, 5, 1), labels), ood=torch.zeros(2, 3, 1)
    )
    assert {name for name, value in found.items() if value} == {
        "accuracy", "member_mean_accuracy", "member_best_accuracy", "member_worst_accuracy",
        "temperature", "ood_auroc_max_probability", "ood_auroc_entropy",
    }  # fmt: skip
    two = score_predictions(predictions(2, 50, 2), answers(50, 2), final=True)
    assert all(math.isfinite(value) for value in two.values())


def test_two_metrics_of_a_name_and_unknown_needs_are_refused() -> None:
    def nll(log_probs: object, labels: object) -> float:
        return 0.0

    def odd(log_probs: object, labels: object, *, weather: object) -> float:
        return 0.0

    with pytest.raises(AssertionError, match="two metrics 'nll'"):
        metric(unit="1", better="neither")(nll)
    with pytest.raises(AssertionError, match=r"metric 'odd' needs .*weather.*: expected some of"):
        metric(unit="1", better="neither")(odd)
