"""Out-of-distribution detection: separate own images from another dataset's by the ensemble's uncertainty."""

import torch
from jaxtyping import Float
from torch import Tensor

from basin.errors import UsageError
from basin.metrics import Labels, LogProbs, metric
from basin.metrics.diversity import entropy
from basin.metrics.prediction import ensemble_log_probs


@metric(unit="1", better="higher", final=True)
def ood_auroc_max_probability(log_probs: LogProbs, labels: Labels, *, ood: Float[Tensor, "M O C"]) -> float:
    """AUROC of the largest probability for telling own images (larger) from another dataset's (Hendrycks 2017).

    ½ if all are equal. Raises UsageError without images on either side.
    """
    return auroc(ensemble_log_probs(log_probs).amax(dim=1), ensemble_log_probs(ood).amax(dim=1))


@metric(unit="1", better="higher", final=True)
def ood_auroc_entropy(log_probs: LogProbs, labels: Labels, *, ood: Float[Tensor, "M O C"]) -> float:
    """AUROC of the entropy of the ensemble for telling own images (smaller) from another dataset's.

    The entropy is that of Lakshminarayanan 2017, section 3.5. ½ if all are equal. Raises UsageError without images on
    either side.
    """
    return auroc(-entropy(ensemble_log_probs(log_probs)), -entropy(ensemble_log_probs(ood)))


def auroc(scores: Float[Tensor, " N"], other_scores: Float[Tensor, " O"]) -> float:
    """P(own > other) + ½ P(own = other) over all pairs of scores (Mann–Whitney); raises UsageError without pairs."""
    if not len(scores) or not len(other_scores):
        raise UsageError(
            f"AUROC needs images of both datasets: got {len(scores)} of this one and {len(other_scores)} of the other"
        )
    ordered = other_scores.sort().values
    below, up_to = (torch.searchsorted(ordered, scores, right=right).double() for right in (False, True))
    return float(((below + up_to) / 2).mean() / len(other_scores))
