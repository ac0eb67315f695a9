"""The convex hull of an ensemble: its centroid and random points. Pairwise connectivity does not imply a basin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.connectivity.probe import Probe
from basin.seeds import generator


@dataclass(frozen=True)
class HullPoint:
    """One network of the hull, scored on one split."""

    split: str
    policy: str
    index: int
    """0 for the centroid, then the random points."""
    accuracy: float
    """In percent."""
    loss: float
    """Mean negative log-likelihood, in nats."""
    accuracy_excess: float
    """Accuracy minus the same mixture of the members' accuracies, in points."""


def weights(count: int, points: int) -> Float[Tensor, "S K"]:
    """The centroid's row, then `points` rows drawn from Dirichlet(1, …, 1), the same for every ensemble of K."""
    draws = torch.empty(points, count, dtype=torch.float64).exponential_(generator=generator("hull", count))
    return torch.cat([torch.full((1, count), 1 / count, dtype=torch.float64), draws / draws.sum(dim=1, keepdim=True)])


def hull(probe: Probe, *, points: int, policies: Iterable[str]) -> Iterator[HullPoint]:
    """The centroid and `points` random points of the hull of the members."""
    rows = weights(stack.size(probe.setting.members), points)
    for policy in policies:
        for index, (row, score) in enumerate(zip(rows, probe.mixed(rows, policy), strict=True)):
            for split, (accuracy, loss) in score.items():
                chord = float(row @ probe.ends[split][0])
                yield HullPoint(split, policy, index, accuracy, loss, accuracy - chord)


def gaps(points: Iterable[HullPoint]) -> dict[str, float]:
    """Chord excess at the centroid, its mean and its worst value over the random points, by split and policy."""
    found: dict[tuple[str, str], list[HullPoint]] = {}
    for point in points:
        found.setdefault((point.split, point.policy), []).append(point)
    result: dict[str, float] = {}
    for (split, policy), own in found.items():
        result[f"{split}_centroid_gap_{policy}"] = own[0].accuracy_excess
        excesses = [point.accuracy_excess for point in own[1:]]
        if excesses:
            result[f"{split}_hull_gap_{policy}"] = sum(excesses) / len(excesses)
            result[f"{split}_hull_min_{policy}"] = min(excesses)
    return result
