"""Mixing against sums written out, and the algebra it must obey."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from basin import stack
from basin.ensemble import Ensemble, all_pairs
from basin.stack import Stack
from tests.support.tiny_trial import same

Sizes = tuple[int, int, int]
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32))


def stacked(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Stack:
    draw = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(count, 3, 2, generator=draw, dtype=dtype),
        "scalar": torch.randn(count, generator=draw, dtype=dtype),
        "steps": torch.arange(count) + 7,
    }


def simplex(rows: int, columns: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed + 1)
    return torch.softmax(3 * torch.randn(rows, columns, generator=draw, dtype=torch.float64), dim=1)


def close(first: Stack, second: Stack) -> None:
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_mixing_is_the_weighted_sum() -> None:
    thetas, weights = stacked(3), torch.tensor([[0.2, 0.5, 0.3], [2.0, -1.5, 0.5]], dtype=torch.float64)
    mixed = stack.mix(thetas, weights)
    for s in range(2):
        for i in range(3):
            for j in range(2):
                total = sum(float(weights[s, k]) * float(thetas["weight"][k, i, j]) for k in range(3))
                assert float(mixed["weight"][s, i, j]) == pytest.approx(total, abs=1e-14)
        total = sum(float(weights[s, k]) * float(thetas["scalar"][k]) for k in range(3))
        assert float(mixed["scalar"][s]) == pytest.approx(total, abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_unit_rows_return_the_networks_bit_for_bit(count: int, dtype: torch.dtype) -> None:
    thetas = {name: tensor for name, tensor in stacked(count, dtype=dtype).items() if name != "steps"}
    assert same(stack.mix(thetas, stack.unit_rows(count)), thetas)
    last = stack.mix(thetas, stack.unit_rows(count)[-1:])
    assert same(stack.network_at(last, 0), stack.network_at(thetas, count - 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_elements_stay_bit_for_bit_in_rows_that_sum_to_1(dtype: torch.dtype) -> None:
    draw, thetas = torch.Generator().manual_seed(0), stacked(4, dtype=dtype)
    thetas["weight"][:, 0] = torch.randn(2, generator=draw, dtype=torch.float64).to(dtype)
    rows = torch.softmax(torch.randn(500, 4, generator=draw, dtype=torch.float64), dim=1)
    rows = torch.cat([rows, 5 * rows - torch.full((4,), 1.0)])  # of a plane: beyond the hull
    mixed = stack.mix(thetas, rows)["weight"]
    assert bool((mixed[:, 0] == thetas["weight"][0, 0]).all())
    others = torch.einsum("sk,kij->sij", rows.to(dtype), thetas["weight"])
    torch.testing.assert_close(mixed[:, 1:], others[:, 1:])
    assert bool((others[:, 0] != thetas["weight"][0, 0]).any()), "the plain sum is as exact: nothing is tested"
    half = stack.mix(thetas, rows[:1] / 2)["weight"]  # not affine: a sum like any other
    torch.testing.assert_close(half, others[:1] / 2)


def test_equal_elements_pass_the_gradient_to_every_network() -> None:
    weight = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    stack.mix({"weight": weight}, torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64))["weight"].sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[:, 0], torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))


def test_integer_buffers_are_the_first_network_s() -> None:
    mixed = stack.mix(stacked(3), simplex(4, 3, 0))
    assert mixed["steps"].tolist() == [7, 7, 7, 7]
    mixed["steps"][0] = 0
    assert mixed["steps"].tolist() == [0, 7, 7, 7], "rows must not share memory"


def test_mixing_keeps_the_dtype_of_the_networks() -> None:
    mixed = stack.mix(stacked(2, dtype=torch.float32), simplex(1, 2, 0))
    assert mixed["weight"].dtype == torch.float32


@given(sizes)
def test_a_point_of_the_hull_is_between_its_vertices(size: Sizes) -> None:
    rows, count, seed = size
    thetas = stacked(count, seed)
    mixed = stack.mix(thetas, simplex(rows, count, seed))["weight"]
    assert bool((mixed >= thetas["weight"].min(dim=0).values - 1e-12).all())
    assert bool((mixed <= thetas["weight"].max(dim=0).values + 1e-12).all())


@given(sizes, st.floats(-3, 3), st.floats(-3, 3))
def test_mixing_is_linear_in_the_weights(size: Sizes, a: float, b: float) -> None:
    rows, count, seed = size
    thetas, first, second = stacked(count, seed), simplex(rows, count, seed), simplex(rows, count, seed + 1)
    together = stack.mix(thetas, a * first + b * second)
    left, right = stack.mix(thetas, first), stack.mix(thetas, second)
    for name in ("weight", "scalar"):
        torch.testing.assert_close(together[name], a * left[name] + b * right[name], rtol=1e-10, atol=1e-10)


@given(sizes)
def test_a_mixture_of_mixtures_is_the_product(size: Sizes) -> None:
    rows, count, seed = size
    thetas, inner, outer = stacked(count, seed), simplex(rows, count, seed), simplex(3, rows, seed + 1)
    close(stack.mix(stack.mix(thetas, inner), outer), stack.mix(thetas, outer @ inner))


@given(sizes)
def test_the_order_of_the_networks_does_not_matter(size: Sizes) -> None:
    rows, count, seed = size
    thetas, weights = stacked(count, seed), simplex(rows, count, seed)
    thetas.pop("steps")  # counted by the first network
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    shuffled = {name: tensor[order] for name, tensor in thetas.items()}
    close(stack.mix(shuffled, weights[:, order]), stack.mix(thetas, weights))


def test_mixing_is_differentiable() -> None:
    thetas, weights = stacked(3), simplex(2, 3, 0)
    thetas["weight"].requires_grad_()
    stack.mix(thetas, weights)["weight"].sum().backward()
    expected = weights.sum(dim=0)[:, None, None].expand(3, 3, 2)
    torch.testing.assert_close(thetas["weight"].grad, expected)


def test_stack_and_rows_are_inverse() -> None:
    thetas = stacked(4)
    networks = list(stack.iterate_networks(thetas))
    assert stack.count_networks(thetas) == len(networks) == 4
    assert same(stack.stack_networks(networks), thetas)
    assert same(stack.network_at(thetas, 2), networks[2])


def test_rows_are_views() -> None:
    thetas = stacked(2)
    stack.network_at(thetas, 1)["weight"].fill_(5)
    assert bool((thetas["weight"][1] == 5).all())
    assert bool((thetas["weight"][0] != 5).all())


def test_copies_are_independent() -> None:
    network = stack.network_at(stacked(2), 1)
    copies = stack.repeat_network(network, 3)
    assert [same(row, network) for row in stack.iterate_networks(copies)] == [True] * 3
    copies["weight"][0].fill_(5)
    assert same(stack.network_at(copies, 1), network)


def test_concatenation_keeps_the_order() -> None:
    first, second = stacked(2, 0), stacked(3, 1)
    joined = stack.join_stacks([first, second])
    assert stack.count_networks(joined) == 5
    assert same(stack.network_at(joined, 1), stack.network_at(first, 1))
    assert same(stack.network_at(joined, 2), stack.network_at(second, 0))


def test_flatten_joins_the_named_tensors() -> None:
    thetas = stacked(2)
    flat = stack.flatten_weights(thetas, ["scalar", "weight"])
    assert flat.shape == (2, 7)
    assert flat[1].tolist() == [float(thetas["scalar"][1]), *thetas["weight"][1].flatten().tolist()]


def test_a_module_is_copied() -> None:
    module = nn.BatchNorm1d(2)
    params = stack.of_module(module)
    assert set(params) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    params["weight"].fill_(5)
    assert module.weight.tolist() == [1, 1]
    assert not params["weight"].requires_grad


def test_members_of_an_ensemble_are_mixtures_of_its_vertices() -> None:
    vertices, coords = stacked(2), torch.tensor([[0.5, 0.5], [2.0, -1.0]], dtype=torch.float64)
    assert same(Ensemble(vertices, coords).members(), stack.mix(vertices, coords))
    assert Ensemble.of_members(vertices).members() is vertices


def test_rows_of_an_ensemble_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"rows that sum to 1, got sums \[1\.0, 0\.5\]"):
        Ensemble(stacked(2), torch.tensor([[0.5, 0.5], [0.5, 0.0]]))


def test_all_pairs_are_named_once() -> None:
    assert all_pairs(3) == ((0, 1), (0, 2), (1, 2))
    assert all_pairs(1) == ()
