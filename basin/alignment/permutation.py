"""Permutations of a network's hidden units, and their effect on its weights."""

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from basin.models.symmetry import Group, Symmetry
from basin.stack import Params

Units = tuple[Int[Tensor, " n"], ...]
"""One group: for each of its parts, which old unit stands at each new place."""
Permutation = dict[str, Units]
"""Every group of a network by name."""


def identity(symmetry: Symmetry) -> Permutation:
    """The permutation that changes nothing."""
    return {name: tuple(torch.arange(group.size) for _ in group.parts) for name, group in symmetry.items()}


def random(symmetry: Symmetry, draws: Generator) -> Permutation:
    """Uniform among all that the groups' blocks allow."""
    return {name: _random(group, draws) for name, group in symmetry.items()}


def _random(group: Group, draws: Generator) -> Units:
    order = torch.randperm(group.blocks, generator=draws)
    length = group.size // group.blocks
    return tuple(
        nested(order, torch.stack([torch.randperm(length, generator=draws) for _ in range(group.blocks)]))
        for _ in group.parts
    )


def nested(order: Int[Tensor, " H"], within: Int[Tensor, "H d"]) -> Int[Tensor, " n"]:
    """Unit (b, u) is taken from unit within[b, u] of block order[b]."""
    return (order[:, None] * within.shape[1] + within).flatten()


def compose(first: Permutation, second: Permutation) -> Permutation:
    """`first`, then `second`, as one."""
    return {name: tuple(one[two] for one, two in zip(first[name], second[name], strict=True)) for name in first}


def permute(network: Params, symmetry: Symmetry, permutation: Permutation) -> Params:
    """The network with its units in the new order; raises ValueError if an axis is not of its group's size."""
    moved = dict(network)
    for name, group in symmetry.items():
        moved |= permute_group(moved, group, permutation[name])
    return moved


def permute_group(network: Params, group: Group, units: Units) -> Params:
    """The tensors of one group, permuted."""
    moved: Params = {}
    for part, index in zip(group.parts, units, strict=True):
        for name, axis in part.axes:
            size = network[name].shape[axis]
            if size != group.size:
                raise ValueError(f"axis {axis} of {name}: expected the group's {group.size} units, got {size}")
            moved[name] = network[name].index_select(axis, index.to(network[name].device))
    return moved
