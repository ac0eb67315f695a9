"""Calibration: agreement of the ensemble's confidence and accuracy."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from basin.metrics import Labels, LogProbs, metric
from basin.metrics.prediction import ensemble_log_probs

BINS = 15
Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class Bin:
    """A row of the reliability table: the images whose top label has a confidence in (lo, hi]; percentages."""

    binning: Binning
    """Bins of equal width, or of equal mass (adaptive)."""
    bin: int
    lo: float
    hi: float
    count: int
    confidence: float | None
    """Mean over the bin's images; None if it has none."""
    accuracy: float | None


@metric(unit="%", better="lower")
def ece(log_probs: LogProbs, labels: Labels) -> float:
    """Expected calibration error of the top label over 15 equal-width bins (lo, hi] (Guo 2017, equation 3)."""
    confidence, correct = top_label(log_probs, labels)
    return 100 * float(binned_gap(confidence, correct, width_edges(BINS)).sum())


@metric(unit="%", better="lower", final=True)
def adaptive_ece(log_probs: LogProbs, labels: Labels) -> float:
    """Expected calibration error of the top label over 15 bins of equal mass (Nguyen and O'Connor 2015).

    Bins end at the confidence of rank ⌈bN/15⌉. Equal confidences share a bin, so that the order of the images does not
    matter: with ties, or fewer than 15 images, some bins are empty and count 0.
    """
    confidence, correct = top_label(log_probs, labels)
    return 100 * float(binned_gap(confidence, correct, mass_edges(confidence, BINS)).sum())


def reliability_table(log_probs: LogProbs, labels: Labels, bins: int = BINS) -> list[Bin]:
    """The table of a reliability diagram, for bins of equal width and of equal mass (DeGroot and Fienberg 1983)."""
    confidence, correct = top_label(log_probs, labels)
    edges: dict[Binning, Tensor] = {"width": width_edges(bins), "mass": mass_edges(confidence, bins)}
    rows = []
    for binning, ends in edges.items():
        limits = [0.0, *ends.tolist(), 1.0]
        for b, (count, sure, hits) in enumerate(bin_sums(confidence, correct, ends).tolist()):
            means = (100 * sure / count, 100 * hits / count) if count else (None, None)
            rows.append(Bin(binning, b, 100 * limits[b], 100 * limits[b + 1], int(count), *means))
    return rows


def top_label(log_probs: LogProbs, labels: Labels) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """The ensemble's confidence in the label it predicts, and whether it is right."""
    confidence, predicted = ensemble_log_probs(log_probs).exp().max(dim=1)
    return confidence, predicted == labels


def width_edges(bins: int) -> Float[Tensor, " inner"]:
    """The inner ends of equal bins of [0, 1]."""
    return torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]


def mass_edges(confidence: Float[Tensor, " N"], bins: int) -> Float[Tensor, " inner"]:
    """The inner ends of bins that hold, but for ties, equally many images: sizes differ by at most one."""
    ranks = torch.arange(1, bins) * len(confidence)
    return confidence.sort().values[((ranks + bins - 1) // bins - 1).clamp(min=0)]


def bin_sums(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], edges: Float[Tensor, " inner"]
) -> Float[Tensor, "bins 3"]:
    """Each bin's number of images, Σ confidence and number correct."""
    place = torch.bucketize(confidence, edges.to(confidence))
    values = torch.stack([torch.ones_like(confidence), confidence, correct.to(confidence)], dim=1)
    return torch.zeros(len(edges) + 1, 3, dtype=confidence.dtype).index_add_(0, place, values)


def binned_gap(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], edges: Float[Tensor, " inner"]
) -> Float[Tensor, " bins"]:
    """Each bin's |Σ confidence − number correct| / N."""
    _, sure, hits = bin_sums(confidence, correct, edges).unbind(dim=1)
    return (sure - hits).abs() / len(confidence)
