"""Correlations against numpy's; planted permutations recovered from what units do."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basin import stack
from basin.alignment.activation_matching import ActivationMatching, Moments, flatten_samples, observe_activations
from basin.alignment.permutation import compose_permutations
from basin.data import Data
from basin.seeds import make_generator
from tests.support.aligning import KINDS, distinct, images, network, only, shuffled

NOTHING = make_generator("nothing")


@given(seed=st.integers(0, 1000), shift=st.sampled_from([0.0, 1.0, 1e6]), chunks=st.integers(1, 4))
def test_moments_give_numpy_s_correlation(seed: int, shift: float, chunks: int) -> None:
    draws = make_generator("moments", seed)
    x, y = (torch.randn(n, 40, generator=draws, dtype=torch.float64) + shift for n in (3, 5))
    y[0] = 2 * x[0] - x[1]
    moments = Moments()
    for a, b in zip(x.tensor_split(chunks, dim=1), y.tensor_split(chunks, dim=1), strict=True):
        moments.add(a, b)
    oracle = np.corrcoef(x.numpy(), y.numpy())[:3, 3:]
    np.testing.assert_allclose(moments.correlation().numpy(), oracle, atol=1e-8)


def test_a_constant_unit_correlates_with_nothing() -> None:
    moments = Moments()
    moments.add(torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]]), torch.tensor([[2.0, 4.0, 6.0], [5.0, 5.0, 5.0]]))
    torch.testing.assert_close(moments.correlation(), torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64))


def test_samples_of_maps_and_of_tokens() -> None:
    maps, tokens = torch.arange(24.0).reshape(2, 3, 2, 2), torch.arange(24.0).reshape(2, 4, 3)
    assert flatten_samples(maps)[1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert flatten_samples(tokens)[1].tolist() == [1, 4, 7, 10, 13, 16, 19, 22]


def test_observation_ends() -> None:
    function, _ = network("mlp")
    params = distinct(function)
    with observe_activations(function, [("1", "output"), ("2.0", "input")]) as seen:
        function(params, images())
        inside = dict(seen)
    seen.clear()
    function(params, images())
    assert not seen
    assert torch.equal(inside["1", "output"], inside["2.0", "input"])
    assert bool((inside["1", "output"] >= 0).all()), "after the ReLU"


def test_correlations_of_a_network(data: Data) -> None:
    function, symmetry = network("mlp-1")
    first, second = function.init(0), function.init(1)
    found = ActivationMatching(function, symmetry, data).correlations(only(first), second)["hidden1"][0]
    pixels = data.normalise(data.train.take(torch.arange(100))[0]).flatten(1)
    a, b = (torch.relu(pixels @ p["1.0.weight"].T + p["1.0.bias"]).double().numpy() for p in (first, second))
    np.testing.assert_allclose(found.numpy(), np.corrcoef(a.T, b.T)[:8, 8:], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_permutation_is_recovered(kind: str, data: Data) -> None:
    function, symmetry = network(kind)
    params = {name: t.float() if t.is_floating_point() else t for name, t in distinct(function).items()}
    moved, planted = shuffled(params, symmetry)
    matching = ActivationMatching(function, symmetry, data)
    match = matching(only(params), moved, NOTHING)
    found = matching.correlations(only(params), params)
    for name, units in compose_permutations(planted, match.permutation).items():
        for index, matrix in zip(units, found[name], strict=True):
            # A unit that never fires has no place of its own.
            alive = matrix.diagonal() > 0
            assert float(alive.float().mean()) > 0.5
            assert torch.equal(index[alive], torch.arange(len(index))[alive]), name
    assert match.after > match.before


def test_several_targets_are_averaged(data: Data) -> None:
    function, symmetry = network("batch")
    a, b, moved = (function.init(seed) for seed in range(3))
    matching = ActivationMatching(function, symmetry, data, images=40)
    both = matching.correlations(stack.stack_networks([a, b]), moved)
    one, two = matching.correlations(only(a), moved), matching.correlations(only(b), moved)
    for name in symmetry:
        torch.testing.assert_close(both[name][0], (one[name][0] + two[name][0]) / 2)


def test_networks_stay_as_they_are(data: Data) -> None:
    function, symmetry = network("batch")
    target, moved = only(function.init(0)), function.init(1)
    before = [{name: tensor.clone() for name, tensor in params.items()} for params in (target, moved)]
    ActivationMatching(function, symmetry, data)(target, moved, NOTHING)
    for params, old in zip((target, moved), before, strict=True):
        assert all(torch.equal(params[name], old[name]) for name in old)
