"""Confidence bounds of the shortfall of mixed networks below the chord between their ends, from per-image results.

The bounds, and what "in one basin" means, are defined in `stats.verdicts`; here are the shortfalls of one ensemble.
Upper bounds are of the average path, lower bounds of the worst cell: an upper bound may be below the lower one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from basin import stack
from basin.connectivity.batchnorm import HEADLINE
from basin.connectivity.hull import hull_rows
from basin.connectivity.probe import Probe, segment_row
from basin.ensemble import Edge
from stats.chords import accuracy_shortfall, loss_shortfall
from stats.verdicts import bounds

WORST = 100.0
"""Accuracy points that an image can lose at most."""


@dataclass(frozen=True, eq=False)
class Shortfalls:
    """Shortfall of each mixed network on each image of one split: [pairs, alphas, images]."""

    accuracy: NDArray[np.float64]
    """In accuracy points, from −100 to 100."""
    loss: NDArray[np.float64]
    """In nats."""


def path_shortfalls(
    probe: Probe, pairs: Sequence[Edge], *, alphas: Sequence[float], policy: str
) -> dict[str, Shortfalls]:
    """Return the shortfalls inside the paths of these pairs, by split."""
    inner, count = [alpha for alpha in alphas if 0 < alpha < 1], stack.count_networks(probe.context.members)
    rows = torch.stack([segment_row(i, j, alpha, count) for (i, j), alpha in product(pairs, inner)])
    return _shortfalls_by_split(probe, rows, policy, (len(pairs), len(inner)))


def hull_shortfalls(probe: Probe, *, points: int, policy: str) -> dict[str, Shortfalls]:
    """Return the shortfalls in the hull, by split: random points as "pairs", the centroid and the point as "alphas".

    So an average over pairs is that of the centroid, and that over random points. Without points: the centroid alone.
    """
    rows = hull_rows(stack.count_networks(probe.context.members), points)
    cells = torch.stack([rows[:1].expand(points, -1), rows[1:]], dim=1).flatten(0, 1) if points else rows
    return _shortfalls_by_split(probe, cells, policy, (points, 2) if points else (1, 1))


def path_bounds(
    probe: Probe, pairs: Sequence[Edge], *, alphas: Sequence[float], policies: Iterable[str]
) -> dict[str, float]:
    """Return `basin_upper`, `basin_lower` (accuracy points), `loss_upper` and `loss_lower` (nats) of these pairs."""
    scores: dict[str, float] = {}
    for policy in policies if pairs else ():
        for split, shortfalls in path_shortfalls(probe, pairs, alphas=alphas, policy=policy).items():
            scores |= _bound_shortfalls(shortfalls, f"{split}_basin", f"{split}_loss", policy)
    return scores


def mid_upper(probe: Probe, pairs: Sequence[Edge]) -> dict[str, float]:
    """Return `basin_mid_upper`: the upper bound at the midpoints alone, under the headline policy."""
    if not pairs:
        return {}
    by_split = path_shortfalls(probe, pairs, alphas=(0.5,), policy=HEADLINE)
    # The upper bound takes no resamples.
    uppers = {
        split: bounds(shortfalls.accuracy[None], worst=WORST, resamples=1).upper
        for split, shortfalls in by_split.items()
    }
    return {f"{split}_basin_mid_upper_{HEADLINE}": upper for split, upper in uppers.items()}


def hull_bounds(probe: Probe, *, points: int, policies: Iterable[str]) -> dict[str, float]:
    """Return `hull_upper`, `hull_lower` (accuracy points), `hull_loss_upper` and `hull_loss_lower` (nats).

    Upper bounds are of the centroid and of the mean over random points, lower bounds of every single one.
    """
    scores: dict[str, float] = {}
    for policy in policies:
        for split, shortfalls in hull_shortfalls(probe, points=points, policy=policy).items():
            scores |= _bound_shortfalls(shortfalls, f"{split}_hull", f"{split}_hull_loss", policy)
    return scores


def _shortfalls_by_split(
    probe: Probe, rows: torch.Tensor, policy: str, shape: tuple[int, int]
) -> dict[str, Shortfalls]:
    ends, mixed, by_split = probe.ends(policy), probe.mixed(rows, policy), {}
    for split, images in probe.splits.items():
        end_scores, mixed_scores = [end[split] for end in ends], [point[split] for point in mixed]
        full = (*shape, len(images))
        accuracy = accuracy_shortfall(
            rows, [s.correct.numpy() for s in end_scores], [s.correct.numpy() for s in mixed_scores]
        )
        loss = loss_shortfall(rows, [s.nll.numpy() for s in end_scores], [s.nll.numpy() for s in mixed_scores])
        by_split[split] = Shortfalls(accuracy.reshape(full), loss.reshape(full))
    return by_split


def _bound_shortfalls(shortfalls: Shortfalls, accuracy: str, loss: str, policy: str) -> dict[str, float]:
    """Bound accuracy and loss. A loss has no worst value: the largest shortfall of any pair and α stands for it."""
    points, nats = bounds(shortfalls.accuracy[None], worst=WORST), bounds(shortfalls.loss[None], worst=None)
    return {
        f"{accuracy}_upper_{policy}": points.upper,
        f"{accuracy}_lower_{policy}": points.lower,
        f"{loss}_upper_{policy}": nats.upper,
        f"{loss}_lower_{policy}": nats.lower,
    }
