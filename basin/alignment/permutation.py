"""Permutations of a network's hidden units, and their effect on its weights."""

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from basin.models.symmetry import Group, Places, Symmetry
from basin.stack import Params

Units = tuple[Int[Tensor, " n"], ...]
"""One group: for each of its parts, which old unit stands at each new place."""
Permutation = dict[str, Units]
"""Every group of a network by name."""


def identity_permutation(symmetry: Symmetry) -> Permutation:
    """The permutation that changes nothing."""
    return {name: tuple(torch.arange(size) for size in group.part_sizes()) for name, group in symmetry.items()}


def random_permutation(symmetry: Symmetry, draws: Generator) -> Permutation:
    """Draw uniformly among all permutations that the groups' blocks allow."""
    return {name: _random_order(group, draws) for name, group in symmetry.items()}


def _random_order(group: Group, draws: Generator) -> Units:
    order = torch.randperm(group.blocks, generator=draws)
    lengths = [size // group.blocks for size in group.part_sizes()]
    return tuple(
        nested(order, torch.stack([torch.randperm(length, generator=draws) for _ in range(group.blocks)]))
        for length in lengths
    )


def nested(order: Int[Tensor, " H"], within: Int[Tensor, "H d"]) -> Int[Tensor, " n"]:
    """Unit (b, u) is taken from unit within[b, u] of block order[b]."""
    return (order[:, None] * within.shape[1] + within).flatten()


def compose_permutations(first: Permutation, second: Permutation) -> Permutation:
    """Compose two permutations: `first`, then `second`."""
    return {name: tuple(one[two] for one, two in zip(first[name], second[name], strict=True)) for name in first}


def permute_network(network: Params, symmetry: Symmetry, permutation: Permutation) -> Params:
    """The network with its units in the new order; raises ValueError if an axis is not of its group's size."""
    moved = dict(network)
    for name, group in symmetry.items():
        moved |= permute_group(moved, group, permutation[name])
    return moved


def permute_group(network: Params, group: Group, units: Units) -> Params:
    """The tensors of one group, permuted."""
    moved: Params = {}
    for part, size, index in zip(group.parts, group.part_sizes(), units, strict=True):
        for name, axis in part.axes:
            tensor = moved.get(name, network[name])
            order = _axis_order(index, part.places.get((name, axis)), tensor.shape[axis])
            if len(order) != tensor.shape[axis]:
                raise ValueError(f"axis {axis} of {name}: expected the group's {size} units, got {tensor.shape[axis]}")
            moved[name] = tensor.index_select(axis, order.to(tensor.device))
    return moved


def _axis_order(index: Int[Tensor, " n"], places: Places | None, length: int) -> Tensor:
    """Which old position stands at each new one along an axis."""
    if places is None:
        return index
    order, by_unit = torch.arange(length), torch.tensor(places)
    order[by_unit] = by_unit[index]
    return order
