"""Matching: similarities of units, the assignment that maximises them, and its record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from basin.alignment.permutation import Permutation, Units, nested
from basin.stack import Params, Stack

Similarities = Sequence[Float[Tensor, "n n"]]
"""For each part of a group: [i, j] says how much unit i of the target is like unit j of the network to be moved."""


@dataclass(frozen=True)
class Match:
    """A permutation that brings one network closer to others."""

    permutation: Permutation
    before: float
    """Total similarity without it; the unit is the matching's own."""
    restarts: tuple[float, ...]
    """Total similarity that each start of the search came to."""

    @property
    def after(self) -> float:
        """Total similarity with it."""
        return max(self.restarts)

    @property
    def gained(self) -> bool:
        """True if it beats the identity by more than rounding."""
        return self.after - self.before > 1e-9 * max(abs(self.before), abs(self.after))


class Matcher(Protocol):
    """A way to find permutations."""

    def __call__(self, targets: Stack, moved: Params, draws: Generator) -> Match:
        """The permutation of `moved` that is most similar to the mean of the targets, or on average to each."""
        ...


def assign_units(similarities: Similarities, blocks: int = 1) -> Units:
    """The units that maximise Σ_parts Σ_i S[i, unit(i)], exactly.

    If block b of the target is given block c, the best order within it does not depend on the other blocks. So there is
    one assignment problem for each (part, b, c), then one for the blocks, with the values of the former.
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    values = np.zeros((blocks, blocks))
    within = [np.zeros((blocks, blocks, len(matrix) // blocks), dtype=np.int64) for matrix in similarities]
    for choices, matrix in zip(within, similarities, strict=True):
        length = choices.shape[2]
        tiles = matrix.double().cpu().numpy().reshape(blocks, length, blocks, length)
        for b, c in np.ndindex(blocks, blocks):
            rows, choices[b, c] = linear_sum_assignment(tiles[b, :, c], maximize=True)
            values[b, c] += tiles[b, rows, c, choices[b, c]].sum()
    order = linear_sum_assignment(values, maximize=True)[1]
    chosen = [torch.from_numpy(choices[np.arange(blocks), order]) for choices in within]
    return tuple(nested(torch.from_numpy(order), units) for units in chosen)


def total_similarity(similarities: Similarities, units: Units | None = None) -> float:
    """Σ_parts Σ_i S[i, unit(i)]; without units, of the identity."""
    if units is None:
        return float(sum(matrix.diagonal().sum() for matrix in similarities))
    pairs = zip(similarities, units, strict=True)
    return float(sum(matrix.gather(1, index.to(matrix.device)[:, None]).sum() for matrix, index in pairs))
