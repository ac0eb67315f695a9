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
from basin.connectivity.probe import Probe, Score, segment
from basin.ensemble import all_pairs

CONNECTED = 2.0
"""Instability, in accuracy points, below which two networks count as connected (Frankle 2020)."""


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


def paths(probe: Probe, *, alphas: Sequence[float], policies: Iterable[str] = ("reset",)) -> Iterator[Point]:
    """Every pair of members i < j at every α; the ends, members with their own statistics, are evaluated once."""
    count = stack.size(probe.setting.members)
    inner = [alpha for alpha in alphas if alpha not in (0.0, 1.0)]
    pairs = all_pairs(count)
    rows = [segment(i, j, alpha, count) for i, j in pairs for alpha in inner]
    for policy in policies:
        scores = iter(probe.mixed(torch.stack(rows), policy) if rows else ())
        for i, j in pairs:
            for alpha in alphas:
                score = next(scores) if alpha in inner else _end(probe, (i, j)[int(alpha)])
                for split, (accuracy, loss) in score.items():
                    yield Point(split, policy, i, j, alpha, accuracy, loss)


def _end(probe: Probe, member: int) -> Score:
    return {split: (float(a[member]), float(b[member])) for split, (a, b) in probe.ends.items()}


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


def instability(scores: Float[Tensor, " A"]) -> float:
    """The form of most public code: highest error on the path − mean error of its ends (Frankle 2020, section 2)."""
    return float((scores[0] + scores[-1]) / 2 - scores.min())


def connectivity(points: Iterable[Point]) -> dict[str, float]:
    """Numbers of all paths by split and policy, in accuracy points.

    `q_bar` is the mean of q_pair over all pairs and the interior of the grid, `q_min` its worst value, `q_star` its
    mean over pairs with member 0; `barrier` and `instability` are the largest over the pairs; `connected` is 1 where
    instability is below 2 points (Frankle 2020, section 3.1), else 0.
    """
    curves: dict[tuple[str, str], dict[tuple[int, int], list[tuple[float, float]]]] = {}
    for point in points:
        pairs = curves.setdefault((point.split, point.policy), {})
        pairs.setdefault((point.i, point.j), []).append((point.alpha, point.accuracy))
    result: dict[str, float] = {}
    for (split, policy), pairs in curves.items():
        excess, barriers, instabilities = {}, [], []
        for pair, curve in pairs.items():
            alphas, scores = torch.tensor(sorted(curve), dtype=torch.float64).T
            excess[pair] = q_pair(alphas, scores)[1:-1]
            barriers.append(barrier(alphas, scores))
            instabilities.append(instability(scores))
        every = torch.cat(list(excess.values()))
        result |= {
            f"{split}_q_bar_{policy}": float(every.mean()),
            f"{split}_q_min_{policy}": float(every.min()),
            f"{split}_q_star_{policy}": float(torch.cat([own for (i, _), own in excess.items() if i == 0]).mean()),
            f"{split}_barrier_{policy}": max(barriers),
            f"{split}_instability_{policy}": max(instabilities),
            f"{split}_connected_{policy}": float(max(instabilities) < CONNECTED),
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
