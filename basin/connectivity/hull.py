"""The convex hull of an ensemble: its centroid and random points. Pairwise connectivity does not imply a basin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.connectivity.probe import Probe
from basin.seeds import make_generator
from stats.chords import chord


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
    """Accuracy minus the same mixture of the members' accuracies under the same BatchNorm policy, in points."""


def hull_rows(count: int, points: int) -> Float[Tensor, "S K"]:
    """The centroid's row, then `points` rows drawn from Dirichlet(1, …, 1), the same for every ensemble of K."""
    draws = torch.empty(points, count, dtype=torch.float64).exponential_(generator=make_generator("hull", count))
    return torch.cat([torch.full((1, count), 1 / count, dtype=torch.float64), draws / draws.sum(dim=1, keepdim=True)])


def score_hull(probe: Probe, *, points: int, policies: Iterable[str]) -> Iterator[HullPoint]:
    """Score the centroid and `points` random points of the members' hull; the ends of chords share their policy."""
    rows = hull_rows(stack.count_networks(probe.context.members), points)
    for policy in policies:
        ends = probe.ends(policy)
        chords = {split: chord(rows, [end[split].accuracy for end in ends]) for split in probe.splits}
        for index, scores in enumerate(probe.mixed(rows, policy)):
            for split, score in scores.items():
                excess = score.accuracy - float(chords[split][index])
                yield HullPoint(split, policy, index, score.accuracy, score.loss, excess)


def hull_gaps(points: Iterable[HullPoint]) -> dict[str, float]:
    """Chord excess at the centroid, its mean and its worst value over the random points, by split and policy.

    Centroid and members have the same policy: under `reset` the members' statistics are estimated anew too.
    """
    groups: dict[tuple[str, str], list[HullPoint]] = {}
    for point in points:
        groups.setdefault((point.split, point.policy), []).append(point)
    result: dict[str, float] = {}
    for (split, policy), group in groups.items():
        result[f"{split}_centroid_gap_{policy}"] = group[0].accuracy_excess
        excesses = [point.accuracy_excess for point in group[1:]]
        if excesses:
            result[f"{split}_hull_gap_{policy}"] = sum(excesses) / len(excesses)
            result[f"{split}_hull_min_{policy}"] = min(excesses)
    return result
