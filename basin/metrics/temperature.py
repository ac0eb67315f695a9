"""Temperature scaling of the ensemble's log-probabilities."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from basin.metrics import Labels, LogProbs, Predictions, metric
from basin.metrics.prediction import ensemble_log_probs
from basin.seeds import make_generator

BOUNDS = (0.01, 100.0)
"""Temperatures among which the best is sought."""
REPEATS = 5


def tempered_nll(log_probs: Float[Tensor, "N C"], labels: Labels, temperature: float) -> float:
    """Mean of −log softmax(log p / T) at the label; inf if a label has probability 0."""
    return float(tempered_nlls(log_probs, labels, temperature).mean())


def tempered_nlls(log_probs: Float[Tensor, "N C"], labels: Labels, temperature: float) -> Float[Tensor, " N"]:
    """−log softmax(log p / T) at the label of each image."""
    scaled = log_probs / temperature
    return scaled.logsumexp(dim=1) - scaled.gather(1, labels.unsqueeze(1)).squeeze(1)


def fit_temperature(log_probs: Float[Tensor, "N C"], labels: Labels) -> float:
    """The T in [0.01, 100] that minimises the tempered NLL (Guo 2017, section 4.2; of an ensemble: Ashukha 2020).

    The NLL is convex in 1/T, hence has one valley in log T, which scipy's bounded Brent search descends to a relative
    error of 1e-6. Images whose label has probability 0 lose infinitely at every T and are left out. T = 1 if no image
    is left, or if no T is better; near a bound if certainty (or its absence) is right without limit.
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    possible = log_probs.gather(1, labels.unsqueeze(1)).squeeze(1) > -math.inf
    if not possible.any():
        return 1.0
    kept, truth = (log_probs, labels) if possible.all() else (log_probs[possible], labels[possible])

    def loss(log_temperature: float) -> float:
        return tempered_nll(kept, truth, math.exp(log_temperature))

    limits = tuple(math.log(bound) for bound in BOUNDS)
    minimum = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-6})
    return math.exp(minimum.x) if minimum.fun < loss(0.0) else 1.0


@metric(unit="1", better="neither", final=True)
def temperature(log_probs: LogProbs, labels: Labels) -> float:
    """Temperature of the ensemble's log-probabilities that is best for these very images; above 1: overconfident."""
    return fit_temperature(ensemble_log_probs(log_probs), labels)


@metric(unit="nats", better="lower", final=True)
def scaled_nll(log_probs: LogProbs, labels: Labels, *, fit: Predictions) -> float:
    """NLL of the ensemble at the temperature fitted on the other split (Guo 2017, section 4.2).

    inf if a label has probability 0.
    """
    best = fit_temperature(ensemble_log_probs(fit[0]), fit[1])
    return tempered_nll(ensemble_log_probs(log_probs), labels, best)


@metric(unit="nats", better="higher", final=True)
def calibrated_log_likelihood(log_probs: LogProbs, labels: Labels) -> float:
    """Log-likelihood of the ensemble at a temperature fitted on other images of the split (Ashukha 2020).

    "Test-time cross-validation": the mean over five seeded divisions into halves, and over both ways, of the mean
    log-likelihood of one half at the temperature fitted on the other. −inf if a label has probability 0. A single
    image, which has no halves, keeps T = 1.
    """
    return -float(calibrated_nlls(ensemble_log_probs(log_probs), labels).mean())


def calibrated_nlls(ensemble: Float[Tensor, "N C"], labels: Labels) -> Float[Tensor, " N"]:
    """Negative log-likelihood of each image at temperatures fitted on other images, averaged over five divisions.

    Its mean over images is −`calibrated_log_likelihood`: of an odd number N, whose halves differ by one image, each
    image weighs N/2 divided by the size of its half.
    """
    count = len(labels)
    if count < 2:
        return tempered_nlls(ensemble, labels, 1.0)
    draw = make_generator("calibrated_log_likelihood", count)
    total = torch.zeros(count, dtype=ensemble.dtype)
    for _ in range(REPEATS):
        first, second = torch.randperm(count, generator=draw).tensor_split(2)
        for fitted, held in ((first, second), (second, first)):
            best = fit_temperature(ensemble[fitted], labels[fitted])
            total[held] += tempered_nlls(ensemble[held], labels[held], best) * (count / 2 / len(held))
    return total / REPEATS
