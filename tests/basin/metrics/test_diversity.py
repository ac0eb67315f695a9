"""Diversity and OOD metrics against scipy, scikit-learn and sums written out."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score
from torch import Tensor

from basin.errors import UsageError
from basin.metrics import score_predictions
from basin.metrics.diversity import error_correlation, kl_pairs, mutual_information, normalised_disagreement
from basin.metrics.ood import auroc, ood_auroc_entropy, ood_auroc_max_probability
from basin.metrics.prediction import ensemble_log_probs
from tests.support.metric_cases import answers, predictions, right


def logs(*members: list[list[float]]) -> Tensor:
    return torch.tensor(members, dtype=torch.float64).log()


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("scale", [0.1, 2, 10])
def test_information_is_scipy_s(members: int, scale: float) -> None:
    log_probs, labels = predictions(members, scale=scale), answers()
    probs = log_probs.exp().numpy()
    mutual = scipy_entropy(probs.mean(axis=0), axis=1) - scipy_entropy(probs, axis=2).mean(axis=0)
    assert mutual_information(log_probs, labels) == pytest.approx(mutual.mean(), abs=1e-12)
    between = [rel_entr(probs[i], probs[j]).sum(axis=1).mean() for i, j in permutations(range(members), 2)]
    assert kl_pairs(log_probs, labels) == pytest.approx(np.mean(between) if between else 0, abs=1e-12)


@pytest.mark.parametrize("members", [2, 5])
def test_error_correlation_is_numpy_s(members: int) -> None:
    log_probs, labels = predictions(members, scale=1), answers()
    log_probs[:, :100] += 3 * torch.nn.functional.one_hot(labels[:100], 7)
    found = np.corrcoef((log_probs.argmax(dim=2) != labels).numpy())
    expected = np.mean([found[i, j] for i, j in combinations(range(members), 2)])
    assert error_correlation(log_probs, labels) == pytest.approx(expected)
    assert expected > 0.1


def test_error_correlation_of_extremes() -> None:
    labels = answers()
    mixed = predictions(1)
    assert error_correlation(torch.cat([mixed, mixed]), labels) == pytest.approx(1)
    assert error_correlation(mixed, labels) == pytest.approx(1)
    two = labels % 2
    some, others = right((two + (torch.arange(200) < 50)) % 2, 2, 1), right((two + (torch.arange(200) >= 50)) % 2, 2, 1)
    assert error_correlation(torch.cat([some, others]), two) == pytest.approx(-1)
    always, never = right(labels, members=1), right((labels + 1) % 7, members=1)
    for constant in (always, never):
        assert error_correlation(torch.cat([constant, mixed]), labels) == 0
        assert error_correlation(torch.cat([constant, constant]), labels) == 0


def test_certain_members_that_contradict_each_other() -> None:
    log_probs, labels = logs([[1, 0]], [[0, 1]]), torch.tensor([0])
    assert mutual_information(log_probs, labels) == pytest.approx(math.log(2))
    assert kl_pairs(log_probs, labels) == math.inf


def test_probability_0_that_all_share_is_no_distance() -> None:
    log_probs = logs([[0.5, 0.5, 0]], [[0.25, 0.75, 0]])
    expected = (0.5 * math.log(2) + 0.5 * math.log(2 / 3) + 0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2
    assert kl_pairs(log_probs, torch.tensor([2])) == pytest.approx(expected)
    certain = right(answers())
    assert kl_pairs(certain, answers()) == mutual_information(certain, answers()) == 0


def test_one_direction_may_be_infinite() -> None:
    assert kl_pairs(logs([[1, 0]], [[0.5, 0.5]]), torch.tensor([0])) == math.inf


def test_normalised_disagreement() -> None:
    labels = torch.tensor([0, 0, 0, 0])
    agree = logs([[0.9, 0.1]] * 4, [[0.9, 0.1]] * 4)
    assert normalised_disagreement(agree, labels) == 0
    differ = logs([[0.9, 0.1]] * 4, [[0.4, 0.6]] * 4)
    assert normalised_disagreement(differ, labels) == math.inf
    assert normalised_disagreement(differ, torch.tensor([0, 1, 1, 0])) == pytest.approx(100 / 50)
    assert normalised_disagreement(agree, torch.tensor([1, 1, 1, 1])) == 0


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**32), st.floats(0, 50))
def test_what_holds_for_all_predictions(members: int, images: int, classes: int, seed: int, scale: float) -> None:
    log_probs, labels = predictions(members, images, classes, seed, scale), answers(images, classes, seed)
    names = ("mutual_information", "kl_pairs", "error_correlation", "disagreement", "jensen_gap")
    found = score_predictions(log_probs, labels, final=True)
    assert 0 <= found["mutual_information"] <= math.log(members) + 1e-9
    assert found["kl_pairs"] >= 0
    assert -1 - 1e-9 <= found["error_correlation"] <= 1 + 1e-9
    draw = torch.Generator().manual_seed(seed)
    people, order = torch.randperm(members, generator=draw), torch.randperm(images, generator=draw)
    for moved, truth in ((log_probs[people], labels), (log_probs[:, order], labels[order])):
        again = score_predictions(moved, truth, final=True)
        assert [again[name] for name in names] == pytest.approx([found[name] for name in names], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("members", [1, 3])
def test_auroc_is_scikit_learn_s(members: int) -> None:
    own, other, labels = predictions(members, 150), predictions(members, 90, seed=1, scale=1), answers(150)
    where = [1] * 150 + [0] * 90
    probs = torch.cat([own, other], dim=1).exp().mean(dim=0)
    largest = roc_auc_score(where, probs.max(dim=1).values)
    assert ood_auroc_max_probability(own, labels, ood=other) == pytest.approx(largest)
    assert ood_auroc_entropy(own, labels, ood=other) == pytest.approx(
        roc_auc_score(where, -scipy_entropy(probs, axis=1))
    )
    found = score_predictions(own, labels, final=True, ood=other)
    assert found["ood_auroc_max_probability"] == ood_auroc_max_probability(own, labels, ood=other)


@given(st.lists(st.integers(0, 4), min_size=1), st.lists(st.integers(0, 4), min_size=1))
def test_auroc_counts_ties_half(own: list[int], other: list[int]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in own for b in other]
    found = auroc(torch.tensor(own).double(), torch.tensor(other).double())
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_of_extremes() -> None:
    labels = answers(10)
    certain, uniform = right(labels), torch.full((2, 20, 7), 1 / 7, dtype=torch.float64).log()
    for measure in (ood_auroc_max_probability, ood_auroc_entropy):
        assert measure(certain, labels, ood=uniform) == 1
        assert measure(uniform, answers(20), ood=certain) == 0
        assert measure(certain, labels, ood=certain) == 0.5


def test_auroc_without_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"AUROC needs images of both datasets: got 10 .* and 0 of the other"):
        ood_auroc_entropy(right(answers(10)), answers(10), ood=predictions(2, 0))


@pytest.mark.parametrize("members", [1, 3])
def test_logit_averaging_is_the_softmax_of_mean_logits(members: int) -> None:
    logits = torch.randn(members, 20, 5, generator=torch.Generator().manual_seed(0)).double()
    found = ensemble_log_probs(torch.log_softmax(logits, dim=2), how="logits")
    assert torch.allclose(found, torch.log_softmax(logits.mean(dim=0), dim=1), rtol=0, atol=1e-12)
    mean = ensemble_log_probs(torch.log_softmax(logits, dim=2))
    assert torch.allclose(mean, torch.softmax(logits, dim=2).mean(dim=0).log(), rtol=0, atol=1e-12)


def test_logit_averaging_of_probability_0() -> None:
    log_probs = logs([[1, 0, 0], [0.5, 0.5, 0]], [[0, 1, 0], [0.5, 0, 0.5]])
    assert ensemble_log_probs(log_probs, how="logits").exp().tolist() == [pytest.approx([1 / 3] * 3), [1, 0, 0]]
