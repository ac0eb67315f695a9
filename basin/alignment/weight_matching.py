"""Weight matching: coordinate ascent over groups of units (Ainsworth 2023, Algorithm 1)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from basin.alignment.matching import Match, Similarities, assign, total
from basin.alignment.permutation import Permutation, identity, permute, permute_group, random
from basin.models.symmetry import Group, Symmetry
from basin.network import Network
from basin.stack import Params, Stack


@dataclass(frozen=True)
class WeightMatching:
    """Maximises ⟨θ, π(θ')⟩ over all trained tensors, biases and affine norms included; buffers do not count.

    θ is the mean of the targets. It is a local search: the first start is the identity, so that the result is never
    worse, the others are random permutations; the best is kept.
    """

    network: Network
    symmetry: Symmetry
    restarts: int = 1
    """Starts of the search."""

    def __call__(self, targets: Stack, moved: Params, draws: Generator) -> Match:
        """The best permutation found."""
        target = {name: targets[name].double().mean(dim=0) for name in self.network.weights}
        wide = {name: moved[name].double() for name in self.network.weights}
        symmetry = {name: _trained(group, target) for name, group in self.symmetry.items()}
        found: list[tuple[float, Permutation]] = []
        for restart in range(self.restarts):
            start = random(symmetry, draws) if restart else identity(symmetry)
            *_, end = ascend(target, wide, symmetry, start=start, draws=draws)
            found.append((inner_product(target, permute(wide, symmetry, end)), end))
        best = max(found, key=lambda pair: pair[0])[1]
        return Match(best, inner_product(target, wide), tuple(value for value, _ in found))


def ascend(
    target: Params, moved: Params, symmetry: Symmetry, *, start: Permutation, draws: Generator
) -> Iterator[Permutation]:
    """`start`, then every better permutation on the way up, until no group alone gives a gain.

    The inner product is linear in each group's permutation with the others held: an assignment problem, solved
    exactly. Groups come in a new random order each round.
    """
    current, moved = dict(start), permute(moved, symmetry, start)
    yield dict(current)
    names = list(symmetry)
    better = True
    while better:
        better = False
        for position in torch.randperm(len(names), generator=draws).tolist():
            group = symmetry[names[position]]
            similarities = products(target, moved, group)
            units = assign(similarities, group.blocks)
            noise = 1e-12 * float(sum(matrix.abs().sum() for matrix in similarities))
            if total(similarities, units) - total(similarities) > noise:
                moved |= permute_group(moved, group, units)
                pairs = zip(current[names[position]], units, strict=True)
                current[names[position]] = tuple(before[then] for before, then in pairs)
                better = True
                yield dict(current)


def products(target: Params, moved: Params, group: Group) -> Similarities:
    """A = Σ W W'ᵀ over the tensors of each part, units first."""
    none = next(iter(target.values())).new_zeros(group.size, group.size)
    return [
        sum((_units(target[name], axis) @ _units(moved[name], axis).T for name, axis in part.axes), none)
        for part in group.parts
    ]


def inner_product(first: Params, second: Params) -> float:
    """⟨θ, θ'⟩ over all tensors."""
    return float(sum((first[name] * second[name]).sum() for name in first))


def _units(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]


def _trained(group: Group, weights: Collection[str]) -> Group:
    parts = (replace(part, axes=tuple(axis for axis in part.axes if axis[0] in weights)) for part in group.parts)
    return replace(group, parts=tuple(parts))
