"""How much the members differ in what they predict."""

from itertools import combinations

import torch

from basin.metrics import metric
from basin.metrics.prediction import Labels, LogProbs


@metric(unit="%", better="neither")
def disagreement(log_probs: LogProbs, labels: Labels) -> float:
    """Images on which two members predict different labels, mean over pairs; 0 for a single member."""
    predicted = log_probs.argmax(dim=2)
    pairs = [(predicted[i] != predicted[j]).double().mean() for i, j in combinations(range(len(predicted)), 2)]
    return float(torch.stack(pairs).mean() * 100) if pairs else 0.0
