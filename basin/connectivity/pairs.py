"""Pairs of members whose paths are measured, and pairs that a verdict is about."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from basin.ensemble import Edge, Ensemble, all_pairs
from basin.seeds import make_generator


@dataclass(frozen=True)
class Pairs:
    """Pairs i < j of members, in order."""

    measured: tuple[Edge, ...]
    """Pairs whose paths are scored."""
    judged: tuple[Edge, ...]
    """The measured pairs that the verdict is about."""


def claimed_pairs(ensemble: Ensemble) -> tuple[Edge, ...]:
    """Return the pairs of members that the construction claims to be connected; all pairs if it claims none.

    Edges join vertices. An edge counts where both of its vertices are members.
    """
    member = {int(row.argmax()): k for k, row in enumerate(ensemble.coords) if _is_unit(row)}
    ends = [(member[a], member[b]) for a, b in ensemble.edges if a in member and b in member]
    return tuple(sorted({(min(pair), max(pair)) for pair in ends})) or all_pairs(len(ensemble.coords))


def choose_pairs(ensemble: Ensemble, count: int | None, seed: int) -> Pairs:
    """Choose `count` random pairs, those that are claimed before all others; None takes every pair.

    With fewer than are claimed, the verdict is about those that were drawn.
    """
    judged, every = claimed_pairs(ensemble), all_pairs(len(ensemble.coords))
    if count is None:
        return Pairs(every, judged)
    others = tuple(pair for pair in every if pair not in judged)
    draw = make_generator("pairs", seed, len(ensemble.coords))
    order = [*_shuffle_pairs(judged, draw), *_shuffle_pairs(others, draw)]
    kept = sorted(order[:count])
    return Pairs(tuple(kept), tuple(pair for pair in kept if pair in judged))


def _shuffle_pairs(pairs: Sequence[Edge], draw: torch.Generator) -> list[Edge]:
    return [pairs[k] for k in torch.randperm(len(pairs), generator=draw).tolist()]


def _is_unit(row: torch.Tensor) -> bool:
    return int(row.count_nonzero()) == 1 and float(row.max()) == 1
