"""Linear paths between the members of an ensemble.

M(α) is a score, better when higher, of the network (1−α)θ_i + αθ_j. The chord form of the excess,
q_pair(α) = M(α) − [(1−α)M(0) + αM(1)], is ≤ 0 where the path dips and 0 where it is perfectly connected. The formula
of q_pair in Lion et al. (2024) is not known to us; this one is ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.connectivity.batchnorm import HEADLINE
from basin.connectivity.probe import Probe, segment_row
from basin.ensemble import Edge, all_pairs


@dataclass(frozen=True)
class PathPoint:
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


def score_paths(
    probe: Probe, *, alphas: Sequence[float], policies: Iterable[str] = (HEADLINE,), pairs: Sequence[Edge] | None = None
) -> Iterator[PathPoint]:
    """Score the paths of the given pairs i < j of members (None: all) at every α, ends and interior by one policy."""
    count = stack.count_networks(probe.context.members)
    pairs = all_pairs(count) if pairs is None else pairs
    rows = [segment_row(i, j, alpha, count) for (i, j), alpha in product(pairs, alphas)]
    for policy in policies:
        scores = iter(probe.mixed(torch.stack(rows), policy) if rows else ())
        for i, j in pairs:
            for alpha in alphas:
                for split, score in next(scores).items():
                    yield PathPoint(split, policy, i, j, alpha, score.accuracy, score.loss)


def alpha_grid(points: int) -> list[float]:
    """An odd number of α from 0 to 1, so that ½ is one of them."""
    if points < 3 or points % 2 == 0:
        raise ValueError(f"a grid needs an odd number of at least 3 points to hold 0, ½ and 1, got {points}")
    return [point / (points - 1) for point in range(points)]


def q_pair(alphas: Float[Tensor, " A"], scores: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """Excess of a path's scores over the chord between its ends."""
    return scores - torch.lerp(scores[0], scores[-1], alphas)  # exactly 0 between equal scores


def barrier(alphas: Float[Tensor, " A"], scores: Float[Tensor, " A"]) -> float:
    """−min_α q_pair(α), which is never below 0."""
    return max(0.0, -float(q_pair(alphas, scores).min()))


def instability(scores: Float[Tensor, " A"]) -> float:
    """The form of most public code: highest error on the path − mean error of its ends (Frankle 2020, section 2)."""
    return float((scores[0] + scores[-1]) / 2 - scores.min())


def summarise_paths(points: Iterable[PathPoint]) -> dict[str, float]:
    """Summarise the paths by split and policy.

    In accuracy points: `q_bar` is the mean of q_pair over the pairs and the interior of the grid, `q_min` its worst
    value, `q_star` its mean over pairs with member 0 (absent if none was measured); `barrier` and `instability` are
    the largest over the pairs. In nats: `loss_barrier`, the largest barrier of the loss over the pairs.
    """
    curves: dict[tuple[str, str], dict[Edge, list[tuple[float, float, float]]]] = {}
    for point in points:
        pairs = curves.setdefault((point.split, point.policy), {})
        pairs.setdefault((point.i, point.j), []).append((point.alpha, point.accuracy, point.loss))
    result: dict[str, float] = {}
    for (split, policy), pairs in curves.items():
        excess, barriers, instabilities, loss_barriers = {}, [], [], []
        for pair, curve in pairs.items():
            alphas, scores, losses = torch.tensor(sorted(curve), dtype=torch.float64).T
            excess[pair] = q_pair(alphas, scores)[1:-1]
            barriers.append(barrier(alphas, scores))
            instabilities.append(instability(scores))
            loss_barriers.append(barrier(alphas, -losses))
        every = torch.cat(list(excess.values()))
        star = [values for (i, _), values in excess.items() if i == 0]
        named = {
            "q_bar": float(every.mean()),
            "q_min": float(every.min()),
            **({"q_star": float(torch.cat(star).mean())} if star else {}),
            "barrier": max(barriers),
            "instability": max(instabilities),
            "loss_barrier": max(loss_barriers),
        }
        result |= {f"{split}_{name}_{policy}": value for name, value in named.items()}
    return result


def barrier_matrix(
    points: Iterable[PathPoint], count: int, score: Literal["accuracy", "loss"] = "accuracy"
) -> Float[Tensor, "K K"]:
    """Barriers of all pairs in accuracy points or nats, of one split and policy; symmetric, 0 on the diagonal."""
    matrix = torch.zeros(count, count, dtype=torch.float64)
    curves: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for point in points:
        curves.setdefault((point.i, point.j), []).append(
            (point.alpha, point.accuracy if score == "accuracy" else -point.loss)
        )
    for (i, j), curve in curves.items():
        alphas, scores = torch.tensor(sorted(curve), dtype=torch.float64).T
        matrix[i, j] = matrix[j, i] = barrier(alphas, scores)
    return matrix
