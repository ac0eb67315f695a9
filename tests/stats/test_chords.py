"""The chord against sums written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.chords import accuracy_shortfall, chord, loss_shortfall

RNG = np.random.default_rng(0)


def test_a_chord_is_the_weighted_sum() -> None:
    weights, ends = RNG.dirichlet(np.ones(4), size=6), RNG.normal(size=(4, 5, 3))
    weights = np.concatenate([weights, 3 * weights - 0.5, np.eye(4)])
    found = chord(weights, ends)
    assert found.shape == (16, 5, 3)
    for row in range(16):
        for i in range(5):
            for j in range(3):
                total = sum(weights[row, k] * ends[k, i, j] for k in range(4))
                assert found[row, i, j] == pytest.approx(total, abs=1e-12)
    assert np.array_equal(found[-4:], ends)


@given(st.integers(0, 1000), st.floats(-1e3, 1e3))
def test_between_equal_ends_the_chord_is_exactly_their_score(seed: int, score: float) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(5), size=20)
    assert np.array_equal(chord(weights, np.full(5, score)), np.full(20, score))
    # An end of no weight has no part in it.
    weights[:, 2] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    ends = np.full(5, score)
    ends[2] = 1e6
    assert np.array_equal(chord(weights, ends), np.full(20, score))


def test_shortfalls_are_positive_where_the_path_dips() -> None:
    weights, ends = [[0.25, 0.75]], [[True, True, False, False], [True, False, True, False]]
    found = accuracy_shortfall(weights, ends, [[False, False, False, True]])
    assert found.tolist() == [[100, 25, 75, -100]]
    assert loss_shortfall(weights, [[1.0, 2.0], [3.0, 2.0]], [[3.5, 1.0]]).tolist() == [[1.0, -1.0]]
