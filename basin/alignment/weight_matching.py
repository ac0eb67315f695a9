"""Weight matching: coordinate ascent over groups of units (Ainsworth 2023, Algorithm 1)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from basin.alignment.matching import Match, Similarities, assign_units, total_similarity
from basin.alignment.permutation import (
    Permutation,
    identity_permutation,
    permute_group,
    permute_network,
    random_permutation,
)
from basin.models.symmetry import Axis, Group, Part, Places, Symmetry
from basin.stack import Params, Stack
from basin.training.network import Network


@dataclass(frozen=True)
class WeightMatching:
    """Maximises ⟨θ, π(θ')⟩ over all trained tensors, biases and affine norms included; buffers do not count.

    θ is the mean of the targets. The search is local. Its first start is the identity, so that the result is never
    worse; the others are random permutations. The best result is kept.
    """

    network: Network
    symmetry: Symmetry
    restarts: int = 1
    """Starts of the search."""

    def __call__(self, targets: Stack, moved: Params, draws: Generator) -> Match:
        """The best permutation found."""
        target = {name: targets[name].double().mean(dim=0) for name in self.network.weights}
        wide = {name: moved[name].double() for name in self.network.weights}
        symmetry = {name: _trained_group(group, target) for name, group in self.symmetry.items()}
        candidates: list[tuple[float, Permutation]] = []
        for restart in range(self.restarts):
            start = random_permutation(symmetry, draws) if restart else identity_permutation(symmetry)
            *_, end = ascend_coordinates(target, wide, symmetry, start=start, draws=draws)
            candidates.append((inner_product(target, permute_network(wide, symmetry, end)), end))
        best = max(candidates, key=lambda pair: pair[0])[1]
        return Match(best, inner_product(target, wide), tuple(value for value, _ in candidates))


def ascend_coordinates(
    target: Params, moved: Params, symmetry: Symmetry, *, start: Permutation, draws: Generator
) -> Iterator[Permutation]:
    """Yield `start`, then each better permutation, until no single group improves it.

    With the other groups fixed, the inner product is linear in one group's permutation: an assignment problem, solved
    exactly. It is quadratic if the group acts on two axes of a tensor: then the solution of the linear problem counts
    only if it is better. Groups take turns in a new random order each round.
    """
    current, moved = dict(start), permute_network(moved, symmetry, start)
    yield dict(current)
    names = list(symmetry)
    better = True
    while better:
        better = False
        for position in torch.randperm(len(names), generator=draws).tolist():
            group = symmetry[names[position]]
            similarities = products(target, moved, group)
            units = assign_units(similarities, group.blocks)
            noise = 1e-12 * float(sum(matrix.abs().sum() for matrix in similarities))
            permuted = permute_group(moved, group, units)
            gain = total_similarity(similarities, units) - total_similarity(similarities)
            if group.meets_itself():
                gain = _products_gain(target, moved, permuted)
            if gain > noise:
                moved |= permuted
                pairs = zip(current[names[position]], units, strict=True)
                current[names[position]] = tuple(before[then] for before, then in pairs)
                better = True
                yield dict(current)


def products(target: Params, moved: Params, group: Group) -> Similarities:
    """A = Σ W W'ᵀ over the tensors of each part, units first."""
    none = next(iter(target.values())).new_zeros
    return [
        sum((_axis_products(target, moved, part, axis) for axis in part.axes), none(size, size))
        for part, size in zip(group.parts, group.part_sizes(), strict=True)
    ]


def _axis_products(target: Params, moved: Params, part: Part, axis: Axis) -> Tensor:
    first, second = (_unit_rows(params[axis[0]], axis[1], part.places.get(axis)) for params in (target, moved))
    return first @ second.T


def _products_gain(target: Params, moved: Params, permuted: Params) -> float:
    """Exact gain; the similarities are linear only as long as each tensor is permuted along one axis."""
    return float(sum((target[name] * (tensor - moved[name])).sum() for name, tensor in permuted.items()))


def inner_product(first: Params, second: Params) -> float:
    """⟨θ, θ'⟩ over all tensors."""
    return float(sum((first[name] * second[name]).sum() for name in first))


def _unit_rows(tensor: Tensor, axis: int, places: Places | None) -> Float[Tensor, "n values"]:
    rows = tensor.movedim(axis, 0)
    if places is not None:
        rows = rows[torch.tensor(places, device=tensor.device)]
    return rows.flatten(1) if rows.dim() > 1 else rows[:, None]


def _trained_group(group: Group, weights: Collection[str]) -> Group:
    parts = (replace(part, axes=tuple(axis for axis in part.axes if axis[0] in weights)) for part in group.parts)
    return replace(group, parts=tuple(parts))
