"""Whether the ensemble's confidence can be believed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from basin.metrics import metric
from basin.metrics.prediction import Labels, LogProbs, ensemble_log_probs

BINS = 15


@metric(unit="%", better="lower")
def ece(log_probs: LogProbs, labels: Labels) -> float:
    """Expected calibration error of the top label over 15 equal-width bins (lo, hi] (Guo 2017, equation 3)."""
    confidence, predicted = ensemble_log_probs(log_probs).exp().max(dim=1)
    return 100 * float(binned_gap(confidence, predicted == labels).sum())


def binned_gap(
    confidence: Float[Tensor, " N"], correct: Int[Tensor, " N"] | Tensor, bins: int = BINS
) -> Float[Tensor, " bins"]:
    """Each bin's |Σ confidence − number correct| / N."""
    inner = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype)[1:-1]
    place = torch.bucketize(confidence, inner)
    excess = torch.zeros(bins, dtype=confidence.dtype).index_add_(0, place, confidence - correct.to(confidence))
    return excess.abs() / len(confidence)
