"""Activation matching: match units with correlated activations (Li 2015; Ainsworth 2023, section 3.1)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from basin.alignment.matching import Match, Similarities, assign_units, total_similarity
from basin.data import Data
from basin.errors import UsageError
from basin.models.symmetry import Group, Reading, Symmetry
from basin.seeds import make_generator
from basin.stack import Params, Stack, count_networks, iterate_networks
from basin.training.network import Network

IMAGES = 5000
"""Training images on which activations are compared, unless the data has fewer."""
CHUNK = 128
"""Images compared at once."""


@dataclass(frozen=True)
class ActivationMatching:
    """Maximises, for each group by itself, the summed correlation of matched units over training images.

    Every position of a feature map, or token, is one sample. The correlations of a group's units do not depend on the
    order of other groups, so each group is one assignment problem, without a search.
    """

    network: Network
    symmetry: Symmetry
    data: Data
    images: int = IMAGES

    def __post_init__(self) -> None:
        hidden = [name for name, group in self.symmetry.items() if not all(part.readings for part in group.parts)]
        if hidden:
            raise UsageError(
                f"{type(self.network.module).__name__}: activation matching cannot observe the units of {hidden[0]!r} "
                f"and {len(hidden) - 1} other groups, which no submodule takes or returns: use matching=weights"
            )

    @torch.no_grad()
    def __call__(self, targets: Stack, moved: Params, draws: Generator) -> Match:
        """Find the best permutation; nothing is drawn."""
        by_group = self.correlations(targets, moved)
        permutation = {name: assign_units(by_group[name], group.blocks) for name, group in self.symmetry.items()}
        after = sum(total_similarity(by_group[name], units) for name, units in permutation.items())
        return Match(permutation, sum(total_similarity(similarities) for similarities in by_group.values()), (after,))

    def correlations(self, targets: Stack, moved: Params) -> dict[str, Similarities]:
        """Correlations of each group's units, summed over readings and averaged over targets."""
        parts = chain.from_iterable(group.parts for group in self.symmetry.values())
        readings = set(chain.from_iterable(part.readings for part in parts))
        sums = [{reading: Moments() for reading in readings} for _ in range(count_networks(targets))]
        for images in self._image_batches():
            with observe_activations(self.network, readings) as seen:
                self.network(moved, images)
                moved_activations = dict(seen)
                for target, moments in zip(iterate_networks(targets), sums, strict=True):
                    self.network(target, images)
                    for reading in readings:
                        moments[reading].add(
                            flatten_samples(seen[reading]), flatten_samples(moved_activations[reading])
                        )
        mean = {reading: torch.stack([m[reading].correlation() for m in sums]).mean(dim=0) for reading in readings}
        return {name: _sum_parts(group, mean) for name, group in self.symmetry.items()}

    def _image_batches(self) -> Iterator[Tensor]:
        train = self.data.train
        order = torch.randperm(len(train), generator=make_generator("activations", self.data.hash))[: self.images]
        return (self.data.normalise(train.take(indices)[0]) for indices in order.split(CHUNK))


class Moments:
    """Running sums of two sets of units, in float64, from which their Pearson correlation follows."""

    def __init__(self) -> None:
        self._count = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: list[Tensor] = []

    def add(self, first: Float[Tensor, "n samples"], second: Float[Tensor, "m samples"]) -> None:
        """Add samples."""
        x, y = first.double(), second.double()
        # Moments about the first samples' mean: those about zero would lose a small variance to a large mean.
        if self._shift is None:
            self._shift = (x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True))
        x, y = x - self._shift[0], y - self._shift[1]
        new = [x.sum(dim=1), y.sum(dim=1), x.square().sum(dim=1), y.square().sum(dim=1), x @ y.T]
        self._sums = [old + more for old, more in zip(self._sums, new, strict=True)] if self._sums else new
        self._count += x.shape[1]

    def correlation(self) -> Float[Tensor, "n m"]:
        """Pearson's r of every pair; 0 where a unit is constant."""
        x, y, xx, yy, xy = (moment / self._count for moment in self._sums)
        scale = ((xx - x.square()).clamp(min=0)[:, None] * (yy - y.square()).clamp(min=0)).sqrt()
        return torch.where(scale > 0, (xy - x[:, None] * y) / scale, 0.0)


@contextmanager
def observe_activations(network: Network, readings: Iterable[Reading]) -> Iterator[dict[Reading, Tensor]]:
    """Record in the dictionary what these readings see at each call of the network within the block."""
    seen: dict[Reading, Tensor] = {}
    handles = []
    for name, side in readings:
        module = network.module.get_submodule(name)

        def take(module: Any, inputs: Any, output: Any, reading: Reading = (name, side)) -> None:
            seen[reading] = inputs[0] if reading[1] == "input" else output

        handles.append(module.register_forward_hook(take))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def flatten_samples(activations: Tensor) -> Float[Tensor, "n samples"]:
    """Units first: the channels of feature maps [N, n, H, W], the last axis of anything else."""
    return activations.movedim(1 if activations.dim() == 4 else -1, 0).flatten(1)


def _sum_parts(group: Group, correlations: dict[Reading, Tensor]) -> Similarities:
    return [torch.stack([correlations[reading] for reading in part.readings]).sum(dim=0) for part in group.parts]
