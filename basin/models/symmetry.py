"""Which axes of a network's weights can be permuted without changing what it computes.

A permutation of hidden units acts on every tensor that produces or consumes them. Each model lists, per group of units
that must be permuted together, the (parameter, axis) pairs; the aligner needs nothing else, and the certificate
(`basin.alignment.certificate`) proves the list in float64.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from basin.errors import UsageError

Axis = tuple[str, int]
"""A parameter or buffer by its `state_dict` name, and one of its axes."""
Reading = tuple[str, Literal["input", "output"]]
"""Where the units can be read: a submodule, and which side of it."""


@dataclass(frozen=True)
class Part:
    """Axes that one permutation acts on."""

    axes: tuple[Axis, ...]
    readings: tuple[Reading, ...] = ()
    """Activations of these units: maps [N, size, …] where they have four axes, else [N, …, size]."""


@dataclass(frozen=True)
class Group:
    """`size` units in `blocks` blocks of equal length; the block order is shared, the order within is each part's own.

    Unit (b, u) is taken from (σ(b), τ_b(u)) with σ one permutation of the blocks and τ_b one of the units of a block.
    Plain layers are one block with one part. A GroupNorm of G groups allows G blocks with one part; attention of H
    heads H blocks with two parts, for queries with keys and for values with the output: within a head each is free.
    """

    size: int
    parts: tuple[Part, ...]
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.size % self.blocks:
            raise ValueError(f"{self.size} units cannot be in {self.blocks} blocks of equal length")
        names = [name for part in self.parts for name, _ in part.axes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"a group may act on one axis of a tensor, not on two: {', '.join(twice)}")


Symmetry = dict[str, Group]
"""The groups of a network by name."""


@runtime_checkable
class Symmetric(Protocol):
    """A module that knows its permutations."""

    def symmetry(self) -> Symmetry:
        """The groups of units that can be permuted."""
        ...


def symmetry_of(module: nn.Module) -> Symmetry:
    """The module's permutation spec; raises UsageError, saying what to write and where, if it has none."""
    if not isinstance(module, Symmetric):
        raise UsageError(
            f"{type(module).__name__} has no permutation spec, which alignment needs: expected a model whose module "
            "has a method `symmetry()` (mlp, resnet8, resnet20, vit, …); docs/extending.md says how to write one"
        )
    return module.symmetry()


def norm_axes(name: str, norm: nn.Module) -> tuple[Axis, ...]:
    """The per-channel tensors of a normalisation layer."""
    return tuple((f"{name}.{leaf}", 0) for leaf, tensor in norm.state_dict().items() if tensor.dim() == 1)


def norm_blocks(norm: nn.Module) -> int:
    """How many blocks of channels a normalisation keeps together: a GroupNorm's groups, else one."""
    return norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
