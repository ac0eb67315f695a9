"""The members of one ensemble and their mixtures, scored on several splits: what every connectivity measure asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from basin.data import Images
from basin.evaluation import evened, predict, predict_here
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.policies import POLICIES, Mixer, Setting

Scores = tuple[Float[Tensor, " S"], Float[Tensor, " S"]]
"""Accuracies in percent and mean negative log-likelihoods in nats, of S networks."""
Score = dict[str, tuple[float, float]]
"""Split → accuracy and loss of one network."""


@dataclass
class Probe:
    """Scores mixtures of members; what was asked once is not computed again."""

    setting: Setting
    splits: Mapping[str, Images]
    _mixers: dict[str, Mixer] = field(default_factory=dict)
    _seen: dict[tuple[str, tuple[float, ...]], Score] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.setting = replace(self.setting, way=self.setting.network.engine.evaluation())

    @cached_property
    def ends(self) -> dict[str, Scores]:
        """Split → the members' own scores, with their own statistics."""
        own = self.setting
        return {
            split: _scores(predict(own.network, own.members, images, own.data, precision=own.precision), images.labels)
            for split, images in self.splits.items()
        }

    def mixed(self, rows: Float[Tensor, "S K"], policy: str) -> list[Score]:
        """Accuracies and losses of the networks `rows @ members` under a BatchNorm policy."""
        names = [(policy, tuple(row)) for row in rows.tolist()]
        fresh = list(dict.fromkeys(name for name in names if name not in self._seen))
        if fresh:
            mixer, way = self._mixer(policy), self.setting.way
            asked = torch.tensor([row for _, row in fresh], dtype=torch.float64)
            parts = way.map(lambda chosen: self._score(mixer, asked[chosen]), way.parts(len(asked)))
            # A GPU is waited for here, once.
            for name, scores in zip(fresh, torch.cat(parts).tolist(), strict=True):
                self._seen[name] = {split: tuple(both) for split, both in zip(self.splits, scores, strict=True)}
        return [self._seen[name] for name in names]

    def _mixer(self, policy: str) -> Mixer:
        if policy not in self._mixers:
            self._mixers[policy] = POLICIES[policy](self.setting)
        return self._mixers[policy]

    def _score(self, mixer: Mixer, rows: Tensor) -> Float[Tensor, "S splits 2"]:
        """Accuracies and losses on the network's device."""
        own, count = self.setting, len(rows)
        thetas = mixer(rows[evened(count)] if own.way.name == "graphs" else rows)
        asked = predict_here(own.network, thetas, self._joined, own.data, way=own.way, precision=own.precision)
        parts = asked[:count].split([len(images) for images in self.splits.values()], dim=1)
        found = [_scores(said, images.labels) for said, images in zip(parts, self.splits.values(), strict=True)]
        return torch.stack([torch.stack(both, dim=1) for both in found], dim=1)

    @cached_property
    def _joined(self) -> Images:
        """The images of every split, for few large batches cost less than many small ones."""
        every = [images.take(torch.arange(len(images))) for images in self.splits.values()]
        pixels, labels = (torch.cat(parts) for parts in zip(*every, strict=True))
        return Images(pixels, labels, torch.arange(len(labels), device=labels.device))


def _scores(log_probs: Tensor, labels: Tensor) -> Scores:
    wide, labels = log_probs.double(), labels.to(log_probs.device)
    return member_accuracies(wide, labels), member_nlls(wide, labels)


def segment(i: int, j: int, alpha: float, count: int) -> Float[Tensor, " K"]:
    """The row (1−α) e_i + α e_j."""
    row = torch.zeros(count, dtype=torch.float64)
    row[i], row[j] = 1 - alpha, alpha
    return row
