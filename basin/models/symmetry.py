"""Permutation symmetries: axes of a network's weights that can be permuted without changing its function.

A permutation of hidden units acts on every tensor that produces or consumes them. A spec lists, per group of units that
must be permuted together, the (parameter, axis) pairs; the aligner needs nothing else, and the certificate
(`basin.alignment.certificate`) proves the list in float64. A module can state its spec in a method `symmetry()`; that
of any other module is traced (`basin.models.tracing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

Axis = tuple[str, int]
"""A parameter or buffer by its `state_dict` name, and one of its axes."""
Places = tuple[tuple[int, ...], ...]
"""For each unit, its positions along an axis, equally many for each."""
Reading = tuple[str, Literal["input", "output"]]
"""A place where the units can be observed: a submodule, and its input or output."""


@dataclass(frozen=True)
class Part:
    """Axes that one permutation acts on."""

    axes: tuple[Axis, ...]
    readings: tuple[Reading, ...] = ()
    """Activations of these units: maps [N, size, …] where they have four axes, else [N, …, size]."""
    places: Mapping[Axis, Places] = field(default_factory=dict)
    """Of axes along which position i is not simply unit i: a linear layer after `flatten` has a position for each
    channel and pixel; a packed projection has rows of queries, keys and values."""
    size: int | None = None
    """Units, if not as many as the group's: equally many in each of its blocks."""


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
        for size in self.part_sizes():
            if size % self.blocks:
                raise ValueError(f"{size} units cannot be in {self.blocks} blocks of equal length")
        whole = [axis for part in self.parts for axis in part.axes if axis not in part.places]
        twice = sorted({f"axis {dim} of {name}" for name, dim in whole if whole.count((name, dim)) > 1})
        if twice:
            raise ValueError(f"a group may act once on an axis, not twice: {', '.join(twice)}")

    def part_sizes(self) -> list[int]:
        """Units of each part."""
        return [part.size or self.size for part in self.parts]

    def meets_itself(self) -> bool:
        """True if it acts on two axes of one tensor: a layer reads the units that it writes."""
        axes = set(chain.from_iterable(part.axes for part in self.parts))
        return len(axes) > len({name for name, _ in axes})


Symmetry = dict[str, Group]
"""The groups of a network by name."""

WRITE_IT = "give the module a method symmetry() as docs/extending.md shows"
"""What to do about a module whose permutations cannot be found."""


@runtime_checkable
class Symmetric(Protocol):
    """A module that knows its permutations."""

    def symmetry(self) -> Symmetry:
        """The groups of units that can be permuted."""
        ...


def symmetry_of(module: nn.Module, example: Tensor) -> Symmetry:
    """The module's own permutation spec, else the one that is traced in a run on `example` [N, …].

    Raises UsageError, naming the operation, if a module without a spec cannot be traced.
    """
    if isinstance(module, Symmetric):
        return module.symmetry()
    from basin.models.tracing import trace_symmetry

    return trace_symmetry(module, example)


def norm_axes(name: str, norm: nn.Module) -> tuple[Axis, ...]:
    """The per-channel tensors of a normalisation layer."""
    return tuple((f"{name}.{leaf}", 0) for leaf, tensor in norm.state_dict().items() if tensor.dim() == 1)


def norm_blocks(norm: nn.Module) -> int:
    """Number of channel blocks a normalisation keeps together: a GroupNorm's groups, else one."""
    return norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
