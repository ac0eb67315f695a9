"""The members of one ensemble and their mixtures, scored on several splits: what every connectivity measure asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from basin.data import Data, Images
from basin.evaluation import predict
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.network import Network
from basin.policies import POLICIES, Mixer
from basin.stack import Stack

Scores = tuple[Float[Tensor, " S"], Float[Tensor, " S"]]
"""Accuracies in percent and mean negative log-likelihoods in nats, of S networks."""


@dataclass
class Probe:
    """Scores mixtures of members; what was asked once is not computed again."""

    network: Network
    members: Stack
    data: Data
    splits: Mapping[str, Images]
    bn_images: int | None = None
    """Training images from which BatchNorm statistics are estimated; None takes all."""
    _mixers: dict[str, Mixer] = field(default_factory=dict)
    _seen: dict[tuple[str, tuple[float, ...]], dict[str, tuple[float, float]]] = field(default_factory=dict)

    @cached_property
    def ends(self) -> dict[str, Scores]:
        """Split → the members' own scores, with their own statistics."""
        return {split: self._scores(self.members, images) for split, images in self.splits.items()}

    def mixed(self, row: Float[Tensor, " K"], policy: str) -> dict[str, tuple[float, float]]:
        """Split → accuracy and loss of the network `row @ members` under a BatchNorm policy."""
        name = (policy, tuple(row.tolist()))
        if name not in self._seen:
            if policy not in self._mixers:
                self._mixers[policy] = POLICIES[policy](self.network, self.members, self.data, self.bn_images)
            network = {name: tensor[None] for name, tensor in self._mixers[policy](row).items()}
            scores = {split: self._scores(network, images) for split, images in self.splits.items()}
            self._seen[name] = {split: (float(a[0]), float(b[0])) for split, (a, b) in scores.items()}
        return self._seen[name]

    def _scores(self, thetas: Stack, images: Images) -> Scores:
        log_probs, labels = predict(self.network, thetas, images, self.data).double(), images.labels.cpu()
        return member_accuracies(log_probs, labels), member_nlls(log_probs, labels)


def segment(i: int, j: int, alpha: float, count: int) -> Float[Tensor, " K"]:
    """The row (1−α) e_i + α e_j."""
    row = torch.zeros(count, dtype=torch.float64)
    row[i], row[j] = 1 - alpha, alpha
    return row
