"""Quality of the ensemble and of its members."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from basin.metrics import metric

LogProbs = Float[Tensor, "M N C"]
Labels = Int[Tensor, " N"]


def ensemble_log_probs(log_probs: LogProbs) -> Float[Tensor, "N C"]:
    """Log of the mean of the members' probabilities: logsumexp_k log p_k − log K."""
    return torch.logsumexp(log_probs, dim=0) - math.log(len(log_probs))


def member_accuracies(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " M"]:
    """Accuracy of each member, in percent."""
    return (log_probs.argmax(dim=2) == labels).double().mean(dim=1) * 100


def member_nlls(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " M"]:
    """Mean negative log-likelihood of each member, in nats."""
    picked = log_probs.gather(2, labels.expand(len(log_probs), -1).unsqueeze(2))
    return -picked.squeeze(2).mean(dim=1)


@metric(unit="%", better="higher")
def accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Accuracy of the mean of the members' probabilities."""
    return float((ensemble_log_probs(log_probs).argmax(dim=1) == labels).double().mean() * 100)


@metric(unit="%", better="higher")
def member_mean_accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Mean accuracy of the members."""
    return float(member_accuracies(log_probs, labels).mean())


@metric(unit="%", better="higher")
def member_best_accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Accuracy of the best member."""
    return float(member_accuracies(log_probs, labels).max())


@metric(unit="%", better="higher")
def member_worst_accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Accuracy of the worst member."""
    return float(member_accuracies(log_probs, labels).min())


@metric(unit="nats", better="lower")
def nll(log_probs: LogProbs, labels: Labels) -> float:
    """Mean negative log-likelihood of the ensemble."""
    return float(F.nll_loss(ensemble_log_probs(log_probs), labels))


@metric(unit="nats", better="lower")
def member_mean_nll(log_probs: LogProbs, labels: Labels) -> float:
    """Mean over the members of their mean negative log-likelihood."""
    return float(member_nlls(log_probs, labels).mean())


@metric(unit="nats", better="higher")
def jensen_gap(log_probs: LogProbs, labels: Labels) -> float:
    """Mean member NLL − ensemble NLL, ≥ 0: exactly what diversity buys."""
    return member_mean_nll(log_probs, labels) - nll(log_probs, labels)


@metric(unit="1", better="lower")
def brier(log_probs: LogProbs, labels: Labels) -> float:
    """Brier score: mean squared distance between probabilities and the one-hot label, from 0 to 2."""
    probs = ensemble_log_probs(log_probs).exp()
    return float((probs - F.one_hot(labels, probs.shape[1])).square().sum(dim=1).mean())
