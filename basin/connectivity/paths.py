"""Linear paths between the members of an ensemble.

M(α) is a score, better when higher, of the network (1−α)θ_i + αθ_j. The chord form of the excess,
q_pair(α) = M(α) − [(1−α)M(0) + αM(1)], is ≤ 0 where the path dips and 0 where it is perfectly connected. The formula
of q_pair in Lion et al. (2024) is not known to us; this one is ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.data import Data, Images
from basin.ensemble import Ensemble, all_pairs
from basin.evaluation import POLICIES, predict
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.network import Network


@dataclass(frozen=True)
class Point:
    """One network of one path, scored on one split."""

    split: str
    policy: str
    i: int
    j: int
    alpha: float
    accuracy: float
    """In percent."""
    loss: float
    """Mean negative log-likelihood, in nats."""


def paths(
    network: Network,
    ensemble: Ensemble,
    data: Data,
    *,
    splits: dict[str, Images],
    alphas: Sequence[float],
    policies: Iterable[str] = ("reset",),
    bn_images: int | None = None,
) -> Iterator[Point]:
    """Every pair of members i < j at every α; the ends, members with their own statistics, are evaluated once."""
    members = ensemble.members()
    count = stack.size(members)
    ends = {split: _scores(network, members, images, data) for split, images in splits.items()}
    for policy in policies:
        for i, j in all_pairs(count):
            for alpha in alphas:
                if alpha in (0.0, 1.0):
                    for split, (accuracies, losses) in ends.items():
                        end = int((i, j)[int(alpha)])
                        yield Point(split, policy, i, j, alpha, float(accuracies[end]), float(losses[end]))
                    continue
                weights = torch.zeros(1, count, dtype=torch.float64)
                weights[0, i], weights[0, j] = 1 - alpha, alpha
                mixed = stack.row(stack.mix(members, weights), 0)
                prepared = {name: t[None] for name, t in POLICIES[policy](network, mixed, data, bn_images).items()}
                for split, images in splits.items():
                    accuracies, losses = _scores(network, prepared, images, data)
                    yield Point(split, policy, i, j, alpha, float(accuracies[0]), float(losses[0]))


def _scores(network: Network, thetas: stack.Stack, images: Images, data: Data) -> tuple[Tensor, Tensor]:
    log_probs, labels = predict(network, thetas, images, data).double(), images.labels.cpu()
    return member_accuracies(log_probs, labels), member_nlls(log_probs, labels)


def grid(points: int) -> list[float]:
    """An odd number of α from 0 to 1, so that ½ is one of them."""
    if points < 3 or points % 2 == 0:
        raise ValueError(f"a grid needs an odd number of at least 3 points to hold 0, ½ and 1, got {points}")
    return [point / (points - 1) for point in range(points)]


def q_pair(alphas: Float[Tensor, " A"], scores: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """Excess of a path's scores over the chord between its ends."""
    return scores - ((1 - alphas) * scores[0] + alphas * scores[-1])


def barrier(alphas: Float[Tensor, " A"], scores: Float[Tensor, " A"]) -> float:
    """−min_α q_pair(α), which is never below 0."""
    return max(0.0, -float(q_pair(alphas, scores).min()))


def connectivity(points: Iterable[Point]) -> dict[str, float]:
    """q_bar, q_min (accuracy points) and the worst barrier of each split and policy.

    `q_bar` is the mean of q_pair over all pairs and the interior of the grid, `q_min` its worst value, `barrier` the
    largest barrier over the pairs.
    """
    curves: dict[tuple[str, str], dict[tuple[int, int], list[tuple[float, float]]]] = {}
    for point in points:
        pairs = curves.setdefault((point.split, point.policy), {})
        pairs.setdefault((point.i, point.j), []).append((point.alpha, point.accuracy))
    result: dict[str, float] = {}
    for (split, policy), pairs in curves.items():
        excess, barriers = [], []
        for curve in pairs.values():
            alphas, scores = torch.tensor(sorted(curve), dtype=torch.float64).T
            excess.append(q_pair(alphas, scores)[1:-1])
            barriers.append(barrier(alphas, scores))
        every = torch.cat(excess)
        result |= {
            f"{split}_q_bar_{policy}": float(every.mean()),
            f"{split}_q_min_{policy}": float(every.min()),
            f"{split}_barrier_{policy}": max(barriers),
        }
    return result


def barrier_matrix(points: Iterable[Point], count: int) -> Float[Tensor, "K K"]:
    """Barriers of all pairs, of the points of one split and policy; symmetric, 0 on the diagonal."""
    matrix = torch.zeros(count, count, dtype=torch.float64)
    curves: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for point in points:
        curves.setdefault((point.i, point.j), []).append((point.alpha, point.accuracy))
    for (i, j), curve in curves.items():
        alphas, scores = torch.tensor(sorted(curve), dtype=torch.float64).T
        matrix[i, j] = matrix[j, i] = barrier(alphas, scores)
    return matrix
