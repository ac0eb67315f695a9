"""Assignment against brute force; weight matching against planted permutations and against all there are."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basin.alignment.matching import Match, assign_units, total_similarity
from basin.alignment.permutation import identity_permutation, nested, permute_network, random_permutation
from basin.alignment.weight_matching import WeightMatching, ascend_coordinates, inner_product
from basin.models.mlp import MLP
from basin.seeds import make_generator
from basin.training.network import Network
from tests.support.aligning import SHAPE, distinct, network, only, shuffled


def draws(*seed: object) -> torch.Generator:
    return make_generator("test", *seed)


@given(size=st.integers(1, 5), seed=st.integers(0, 1000))
def test_a_plain_assignment_is_the_best_of_all(size: int, seed: int) -> None:
    matrix = torch.randn(size, size, generator=draws(seed), dtype=torch.float64)
    (units,) = assign_units([matrix])
    best = max(sum(float(matrix[i, j]) for i, j in enumerate(order)) for order in permutations(range(size)))
    assert total_similarity([matrix], (units,)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("blocks", "length", "parts"), [(2, 2, 2), (3, 2, 1), (2, 3, 1), (1, 3, 2), (4, 1, 2)])
def test_a_nested_assignment_is_the_best_of_all(blocks: int, length: int, parts: int, seed: int) -> None:
    matrices = list(torch.randn(parts, blocks * length, blocks * length, generator=draws(seed), dtype=torch.float64))
    inner = list(product(permutations(range(length)), repeat=blocks))
    best = -np.inf
    for order in permutations(range(blocks)):
        # The parts share the order of the blocks and nothing else.
        value = 0.0
        for matrix in matrices:
            options = (nested(torch.tensor(order), torch.tensor(within)) for within in inner)
            value += max(total_similarity([matrix], (units,)) for units in options)
        best = max(best, value)
    assert total_similarity(matrices, assign_units(matrices, blocks)) == pytest.approx(best, abs=1e-12)


def test_the_identity_has_the_diagonal() -> None:
    matrix = torch.arange(9.0).reshape(3, 3)
    assert total_similarity([matrix, matrix]) == 24
    assert total_similarity([matrix], (torch.tensor([1, 0, 2]),)) == 1 + 3 + 8


@pytest.mark.parametrize("kind", ["mlp", "mlp-1", "batch", "layer", "group", "vit-1-head"])
def test_a_planted_permutation_is_recovered(kind: str) -> None:
    function, symmetry = network(kind)
    params = distinct(function)
    moved, _ = shuffled(params, symmetry)
    match = WeightMatching(function, symmetry)(only(params), moved, draws())
    back = permute_network(moved, symmetry, match.permutation)
    assert all(torch.equal(back[name], params[name]) for name in params)


@pytest.mark.parametrize("kind", ["resnet20", "resnet20-group", "vit"])
def test_a_planted_permutation_is_recovered_with_restarts(kind: str) -> None:
    function, symmetry = network(kind)
    for seed in range(3):
        params = distinct(function, seed)
        moved, _ = shuffled(params, symmetry, seed)
        match = WeightMatching(function, symmetry, restarts=10)(only(params), moved, draws(seed))
        back = permute_network(moved, symmetry, match.permutation)
        assert all(torch.equal(back[name], params[name]) for name in params), seed


@pytest.mark.parametrize("kind", ["mlp", "resnet20", "group", "vit"])
def test_each_step_up_is_a_step_up(kind: str) -> None:
    function, symmetry = network(kind)
    target, moved = ({n: distinct(function, seed)[n] for n in function.weights} for seed in (0, 1))
    trained = {
        name: type(group)(
            group.size,
            tuple(type(p)(tuple(a for a in p.axes if a[0] in target)) for p in group.parts),
            group.blocks,
        )
        for name, group in symmetry.items()
    }
    for seed in range(3):
        start = random_permutation(trained, draws(seed))
        steps = list(ascend_coordinates(target, moved, trained, start=start, draws=draws(seed)))
        values = [inner_product(target, permute_network(moved, trained, step)) for step in steps]
        assert len(values) > 1
        assert all(after > before for before, after in pairwise(values))


@pytest.mark.parametrize("seed", range(4))
def test_weight_matching_finds_the_best_of_a_tiny_mlp(seed: int) -> None:
    function = Network(MLP(hidden=3, layers=2), SHAPE, 3, torch.device("cpu"))
    symmetry = function.symmetry
    target, moved = distinct(function, seed), distinct(function, seed + 100)
    match = WeightMatching(function, symmetry, restarts=10)(only(target), moved, draws(seed))
    orders = [torch.tensor(order) for order in permutations(range(3))]
    every = [
        inner_product(target, permute_network(moved, symmetry, {"hidden1": (first,), "hidden2": (second,)}))
        for first, second in product(orders, orders)
    ]
    assert match.after == pytest.approx(max(every), rel=1e-12)
    assert match.before == pytest.approx(every[0], rel=1e-12)
    assert inner_product(target, permute_network(moved, symmetry, match.permutation)) == pytest.approx(
        match.after, rel=1e-12
    )


def test_biases_count() -> None:
    function, symmetry = network("mlp-1")
    params = distinct(function)
    for name in params:
        if not name.endswith("1.0.bias"):
            params[name] = torch.ones_like(params[name])
    moved, _ = shuffled(params, symmetry)
    match = WeightMatching(function, symmetry)(only(params), moved, draws())
    assert torch.equal(permute_network(moved, symmetry, match.permutation)["1.0.bias"], params["1.0.bias"])


def test_running_statistics_move_and_do_not_count() -> None:
    function, symmetry = network("batch")
    target, moved = distinct(function, 0), distinct(function, 1)
    other = {n: 7 * t if n.endswith(("running_mean", "running_var")) else t for n, t in moved.items()}
    first, second = (WeightMatching(function, symmetry)(only(target), m, draws()) for m in (moved, other))
    assert first.restarts == second.restarts
    index = first.permutation["blocks.0.inner"][0]
    there = permute_network(moved, symmetry, first.permutation)
    assert torch.equal(there["blocks.0.norm1.running_mean"], moved["blocks.0.norm1.running_mean"][index])


def test_the_first_start_is_the_identity() -> None:
    function, symmetry = network("resnet20")
    params = distinct(function)
    match = WeightMatching(function, symmetry, restarts=3)(only(params), params, draws())
    assert len(match.restarts) == 3
    assert match.before == match.restarts[0] == match.after
    assert not match.gained
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            match.permutation["stream to head"], identity_permutation(symmetry)["stream to head"], strict=True
        )
    )


def test_more_restarts_are_never_worse() -> None:
    function, symmetry = network("resnet20")
    target, moved = distinct(function, 0), distinct(function, 1)
    runs = [WeightMatching(function, symmetry, restarts=n)(only(target), moved, draws()) for n in (1, 4)]
    assert runs[1].restarts[0] == runs[0].after > runs[0].before
    assert runs[1].after >= runs[0].after


def test_the_target_is_the_mean_of_several() -> None:
    function, symmetry = network("mlp")
    a, b, moved = (distinct(function, seed) for seed in range(3))
    mean = {name: (a[name] + b[name]) / 2 for name in a}
    several = {name: torch.stack([a[name], b[name]]) for name in a}
    first, second = (WeightMatching(function, symmetry)(t, moved, draws()) for t in (several, only(mean)))
    assert first.after == pytest.approx(second.after, rel=1e-12)


def test_a_gain_is_more_than_rounding() -> None:
    assert Match({}, 1.0, (1.0, 1.1)).gained
    assert not Match({}, 1e9, (1e9 + 0.5,)).gained
