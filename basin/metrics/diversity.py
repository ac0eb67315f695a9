"""Diversity of the members' predictions; a single member counts as two copies of itself."""

import math
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from basin.metrics import Labels, LogProbs, image_mean, metric
from basin.metrics.prediction import accuracy, ensemble_log_probs


@image_mean(unit="%", better="neither")
def disagreement(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Images on which two members predict different labels, mean over pairs; 0 for a single member."""
    predicted = log_probs.argmax(dim=2)
    return 100.0 * torch.stack([(predicted[i] != predicted[j]).double() for i, j in member_pairs(log_probs)]).mean(
        dim=0
    )


@metric(unit="1", better="neither")
def normalised_disagreement(log_probs: LogProbs, labels: Labels) -> float:
    """Disagreement of the members / error of the ensemble (after Fort 2019, there of two networks).

    An ensemble without error: 0 if its members agree, otherwise inf.
    """
    differ, wrong = disagreement(log_probs, labels), 100 - accuracy(log_probs, labels)
    if wrong == 0:
        return math.inf if differ else 0.0
    return differ / wrong


@image_mean(unit="nats", better="neither", final=True)
def mutual_information(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mutual information of label and member, H(p̄) − mean_k H(p_k), ≥ 0 and ≤ log K (Depeweg 2018).

    0 log 0 = 0, and rounding below 0 is 0.
    """
    members = torch.stack([entropy(member) for member in log_probs]).mean(dim=0)
    return (entropy(ensemble_log_probs(log_probs)) - members).clamp(min=0)


@image_mean(unit="nats", better="neither", final=True)
def kl_pairs(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """KL(p_i ‖ p_j) = Σ_c p_i (log p_i − log p_j), mean over all ordered pairs of members; 0 for a single member.

    inf if a member gives probability 0 to what another holds possible. Computed as the sum over all (i, j), to which
    i = j adds nothing: K Σ_i Σ_c p_i log p_i − Σ_c (Σ_i p_i)(Σ_j log p_j); rounding below 0 is 0.
    """
    count = len(log_probs)
    negative_entropy = torch.stack([-entropy(member) for member in log_probs]).sum(dim=0)
    mass = torch.stack([member.exp() for member in log_probs]).sum(dim=0)
    cross = torch.where(mass > 0, mass * log_probs.sum(dim=0), 0.0).sum(dim=1)
    return ((count * negative_entropy - cross) / max(count * (count - 1), 1)).clamp(min=0)


@metric(unit="1", better="lower", final=True)
def error_correlation(log_probs: LogProbs, labels: Labels) -> float:
    """Pearson correlation of two members' errors (1 wrong, 0 right), mean over pairs (ρ of Kuncheva 2003).

    A member that is always right or always wrong has covariance 0 with every other: its pairs count 0.
    """
    wrong = (log_probs.argmax(dim=2) != labels).double()
    centred = wrong - wrong.mean(dim=1, keepdim=True)
    norms = centred.square().sum(dim=1).sqrt()
    units = torch.where(norms[:, None] > 0, centred / norms[:, None], 0.0)
    correlations = units @ units.T
    return float(torch.stack([correlations[i, j] for i, j in member_pairs(log_probs)]).mean())


def member_pairs(log_probs: LogProbs) -> list[tuple[int, int]]:
    """All pairs i < j of members."""
    return list(combinations(range(len(log_probs)), 2)) or [(0, 0)]


def entropy(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """−Σ_c p log p in nats, 0 log 0 = 0."""
    probs = log_probs.exp()
    return -torch.where(probs > 0, probs * log_probs, 0.0).sum(dim=1)
