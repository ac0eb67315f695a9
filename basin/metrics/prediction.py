"""Quality of the ensemble and of its members."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from basin.metrics import Labels, LogProbs, image_mean, metric


def ensemble_log_probs(
    log_probs: LogProbs, how: Literal["probabilities", "logits"] = "probabilities"
) -> Float[Tensor, "N C"]:
    """Log-probabilities of the ensemble.

    `probabilities`: log of their mean, logsumexp_k log p_k − log K. `logits`: log_softmax of the mean of log p_k, which
    is that of the mean logits, for both differ by a constant of each image; uniform where it leaves no class possible.
    """
    if how == "probabilities":
        return torch.logsumexp(log_probs, dim=0) - math.log(len(log_probs))
    mean = log_probs.mean(dim=0)
    impossible = mean.amax(dim=1, keepdim=True) == -math.inf
    return F.log_softmax(mean.masked_fill(impossible, 0), dim=1)


def label_log_probs(log_probs: LogProbs, labels: Labels) -> Float[Tensor, "M N"]:
    """Each member's log-probability of the label."""
    return log_probs.gather(2, labels.expand(len(log_probs), -1).unsqueeze(2)).squeeze(2)


def member_accuracies(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " M"]:
    """Accuracy of each member, in percent."""
    return (log_probs.argmax(dim=2) == labels).double().mean(dim=1) * 100


def member_nlls(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " M"]:
    """Mean negative log-likelihood of each member, in nats."""
    return -label_log_probs(log_probs, labels).mean(dim=1)


@image_mean(unit="%", better="higher")
def accuracy(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Accuracy of the mean of the members' probabilities; a tie goes to the first class."""
    return 100.0 * (ensemble_log_probs(log_probs).argmax(dim=1) == labels).double()


@image_mean(unit="%", better="higher")
def member_mean_accuracy(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mean accuracy of the members."""
    return 100.0 * (log_probs.argmax(dim=2) == labels).double().mean(dim=0)


@metric(unit="%", better="higher")
def member_best_accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Accuracy of the best member."""
    return float(member_accuracies(log_probs, labels).max())


@metric(unit="%", better="higher")
def member_worst_accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """Accuracy of the worst member."""
    return float(member_accuracies(log_probs, labels).min())


@image_mean(unit="nats", better="lower")
def nll(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mean negative log-likelihood of the ensemble; inf if one label has probability 0."""
    return -label_log_probs(ensemble_log_probs(log_probs).unsqueeze(0), labels)[0]


@image_mean(unit="nats", better="lower", final=True)
def logit_average_nll(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mean negative log-likelihood of the ensemble that averages logits; inf if one label has probability 0."""
    return -label_log_probs(ensemble_log_probs(log_probs, how="logits").unsqueeze(0), labels)[0]


@image_mean(unit="nats", better="lower")
def member_mean_nll(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mean over the members of their mean negative log-likelihood; inf if one gives a label probability 0."""
    return -label_log_probs(log_probs, labels).mean(dim=0)


@image_mean(unit="nats", better="higher")
def jensen_gap(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Mean member NLL − ensemble NLL, ≥ 0: exactly what diversity buys.

    inf if a member, but not the ensemble, gives a label probability 0; an image whose label is impossible to every
    member counts 0, since they agree on it.
    """
    members = label_log_probs(log_probs, labels)
    ensemble = torch.logsumexp(members, dim=0) - math.log(len(members))
    return torch.where(ensemble == -math.inf, 0.0, ensemble - members.mean(dim=0))


@image_mean(unit="1", better="lower")
def brier(log_probs: LogProbs, labels: Labels) -> Float[Tensor, " N"]:
    """Brier score: mean squared distance between probabilities and the one-hot label, from 0 to 2 (Brier 1950)."""
    probs = ensemble_log_probs(log_probs).exp()
    return (probs - F.one_hot(labels, probs.shape[1])).square().sum(dim=1)
