"""Every permutation that a model's spec allows leaves its function as it is; a spec that lacks an axis does not."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basin.alignment.permutation import (
    compose_permutations,
    identity_permutation,
    nested,
    permute_network,
    random_permutation,
)
from basin.alignment.weight_matching import inner_product
from basin.models.symmetry import Group, Part, Symmetry
from basin.seeds import make_generator
from tests.support.aligning import KINDS, difference, distinct, network, shuffled

AXIS = Part((("w", 0),))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_permutation_changes_no_output(kind: str, seed: int) -> None:
    function, symmetry = network(kind)
    params = distinct(function, seed)
    moved, _ = shuffled(params, symmetry, seed)
    assert difference(function, params, moved) < 1e-12
    for name, group in symmetry.items():
        assert all(not torch.equal(moved[n], params[n]) for part in group.parts for n, _ in part.axes), name


@pytest.mark.parametrize("kind", ["mlp", "batch", "layer", "group", "vit"])
def test_an_untouched_tensor_has_no_hidden_units(kind: str) -> None:
    function, symmetry = network(kind)
    named = {name for group in symmetry.values() for part in group.parts for name, _ in part.axes}
    rest = {name for name in function.init(0) if name not in named and "num_batches" not in name}
    assert rest == {{"mlp": "4.bias"}.get(kind, "head.bias")}


def without(symmetry: Symmetry, group: str, part: int, axis: int) -> Symmetry:
    """The spec with one of its axes forgotten."""
    parts = list(symmetry[group].parts)
    axes = parts[part].axes
    parts[part] = replace(parts[part], axes=axes[:axis] + axes[axis + 1 :])
    return symmetry | {group: replace(symmetry[group], parts=tuple(parts))}


@pytest.mark.parametrize("kind", ["mlp", "batch", "layer", "group", "vit"])
def test_every_axis_is_needed(kind: str) -> None:
    function, symmetry = network(kind)
    params = distinct(function)
    for name, group in symmetry.items():
        for p, part in enumerate(group.parts):
            for a, axis in enumerate(part.axes):
                moved, _ = shuffled(params, without(symmetry, name, p, a))
                # q·b for the bias b of the keys is the same for all keys: softmax does not see it.
                free = axis[0].endswith(".k.bias")
                assert (difference(function, params, moved) < 1e-9) == free, (name, axis)


def test_group_norms_keep_their_groups_together() -> None:
    _, symmetry = network("group")
    assert {group.size // group.blocks for group in symmetry.values()} == {8}
    _, symmetry = network("layer")
    assert {group.blocks for group in symmetry.values()} == {1}


@pytest.mark.parametrize("norm", ["group"])
def test_channels_that_change_their_norm_group_change_the_function(norm: str) -> None:
    function, symmetry = network(norm)
    params = distinct(function)
    free = {name: replace(group, blocks=1) for name, group in symmetry.items()}
    assert difference(function, params, shuffled(params, free)[0]) > 1e-3


@pytest.mark.parametrize("kind", ["mlp", "group", "vit"])
def test_permutations_compose(kind: str) -> None:
    function, symmetry = network(kind)
    params = distinct(function)
    once, first = shuffled(params, symmetry, 1)
    twice, second = shuffled(once, symmetry, 2)
    both = permute_network(params, symmetry, compose_permutations(first, second))
    assert all(torch.equal(both[name], twice[name]) for name in params)
    same = permute_network(params, symmetry, identity_permutation(symmetry))
    assert all(torch.equal(same[name], params[name]) for name in params)


@settings(max_examples=30)
@given(kind=st.sampled_from(["mlp", "group", "vit"]), seeds=st.lists(st.integers(0, 2**32), min_size=3, max_size=3))
def test_permutations_are_a_group_of_rotations(kind: str, seeds: list[int]) -> None:
    function, symmetry = network(kind)
    first, second, third = (random_permutation(symmetry, make_generator(seed)) for seed in seeds)
    back = {name: tuple(index.argsort() for index in units) for name, units in first.items()}
    a, b = ({n: distinct(function, seed)[n] for n in function.weights} for seed in (0, 1))
    own = {
        name: replace(group, parts=tuple(replace(p, axes=tuple(x for x in p.axes if x[0] in a)) for p in group.parts))
        for name, group in symmetry.items()
    }
    for name, units in compose_permutations(first, back).items():
        assert all(torch.equal(index, identity_permutation(symmetry)[name][0]) for index in units)
    for left, right in zip(
        compose_permutations(compose_permutations(first, second), third).values(),
        compose_permutations(first, compose_permutations(second, third)).values(),
        strict=True,
    ):
        assert all(torch.equal(x, y) for x, y in zip(left, right, strict=True))
    # Lengths and angles stay; a permutation moves to the other side as its inverse.
    assert inner_product(permute_network(a, own, first), permute_network(b, own, first)) == pytest.approx(
        inner_product(a, b)
    )
    assert inner_product(a, permute_network(b, own, first)) == pytest.approx(
        inner_product(permute_network(a, own, back), b)
    )


@given(blocks=st.integers(1, 5), length=st.integers(1, 5), parts=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_random_units_are_a_permutation_within_blocks(blocks: int, length: int, parts: int, seed: int) -> None:
    group = Group(blocks * length, tuple(Part(((f"w{p}", 0),)) for p in range(parts)), blocks)
    units = random_permutation({"g": group}, make_generator(seed))["g"]
    assert len(units) == parts
    orders = set()
    for index in units:
        assert sorted(index.tolist()) == list(range(group.size))
        came_from = index.reshape(blocks, length) // length
        assert bool((came_from == came_from[:, :1]).all())
        orders.add(tuple(came_from[:, 0].tolist()))
    assert len(orders) == 1, "the parts share the order of the blocks"


def test_nested_units() -> None:
    index = nested(torch.tensor([1, 0]), torch.tensor([[2, 0, 1], [0, 2, 1]]))
    assert index.tolist() == [5, 3, 4, 0, 2, 1]


def test_an_axis_of_another_size_is_refused() -> None:
    symmetry = {"g": Group(3, (Part((("w", 1),)),))}
    with pytest.raises(ValueError, match=r"^axis 1 of w: expected the group's 3 units, got 4$"):
        permute_network({"w": torch.zeros(3, 4)}, symmetry, identity_permutation(symmetry))


def test_blocks_are_of_equal_length() -> None:
    with pytest.raises(ValueError, match=r"^5 units cannot be in 2 blocks of equal length$"):
        Group(5, (AXIS,), 2)


def test_a_group_acts_once_on_an_axis() -> None:
    with pytest.raises(ValueError, match=r"^a group may act once on an axis, not twice: axis 0 of w$"):
        Group(4, (AXIS, AXIS))


def test_a_group_acts_on_two_axes_of_a_tensor() -> None:
    group = Group(3, (Part((("w", 0), ("w", 1))),))
    assert group.meets_itself()
    matrix, order = torch.arange(9).reshape(3, 3), torch.tensor([2, 0, 1])
    moved = permute_network({"w": matrix}, {"g": group}, {"g": (order,)})
    assert torch.equal(moved["w"], matrix[order][:, order])


def test_units_with_several_places_move_with_all_of_them() -> None:
    part = Part((("w", 0),), places={("w", 0): ((0, 1), (2, 3), (5, 4))})
    moved = permute_network({"w": torch.arange(7)}, {"g": Group(3, (part,))}, {"g": (torch.tensor([1, 2, 0]),)})
    assert moved["w"].tolist() == [2, 3, 5, 4, 1, 0, 6]


def test_parts_of_other_sizes_share_the_order_of_the_blocks() -> None:
    group = Group(6, (AXIS, Part((("v", 0),), size=2)), blocks=2)
    units = random_permutation({"g": group}, make_generator(1))["g"]
    assert (units[0].reshape(2, 3) // 3)[:, 0].tolist() == units[1].tolist()
    with pytest.raises(ValueError, match=r"^3 units cannot be in 2 blocks of equal length$"):
        Group(6, (AXIS, Part((("v", 0),), size=3)), blocks=2)
