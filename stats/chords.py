"""The chord: the affine combination of the ends' scores that the score of a mixed network is compared with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def chord(weights: ArrayLike, ends: ArrayLike) -> Array:
    """Return Σ_k w_k·end_k for each row of `weights` [rows, K], each row summing to 1; `ends` is [K, ...].

    Taken from the end with the largest weight, so that ends with equal scores have exactly that score as their chord.
    """
    rows, scores = np.asarray(weights, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    chords = np.empty((len(rows), *scores.shape[1:]))
    for place, row in enumerate(rows):
        base = int(np.abs(row).argmax())
        others = [k for k in np.flatnonzero(row) if k != base]
        chords[place] = scores[base] + np.tensordot(row[others], scores[others] - scores[base], axes=1)
    return chords


def accuracy_shortfall(weights: ArrayLike, ends: ArrayLike, correct: ArrayLike) -> Array:
    """Return how far each image's correctness lies below the chord, in accuracy points from −100 to 100.

    `ends` [K, images] and `correct` [rows, images] say where the ends and the mixed networks are right.
    """
    return 100 * (chord(weights, ends) - np.asarray(correct, dtype=np.float64))


def loss_shortfall(weights: ArrayLike, ends: ArrayLike, losses: ArrayLike) -> Array:
    """Return how far each image's loss lies above the chord, in nats; shapes as for `accuracy_shortfall`."""
    return np.asarray(losses, dtype=np.float64) - chord(weights, ends)
