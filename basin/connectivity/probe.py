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
            split: _scores(predict(own.network, own.members, images, own.data, precision=own.precision), images)
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
            self._seen.update(zip(fresh, (score for part in parts for score in part), strict=True))
        return [self._seen[name] for name in names]

    def _mixer(self, policy: str) -> Mixer:
        if policy not in self._mixers:
            self._mixers[policy] = POLICIES[policy](self.setting)
        return self._mixers[policy]

    def _score(self, mixer: Mixer, rows: Tensor) -> list[Score]:
        own, count = self.setting, len(rows)
        thetas = mixer(rows[evened(count)] if own.way.name == "graphs" else rows)
        found: list[Score] = [{} for _ in range(count)]
        for split, images in self.splits.items():
            asked = predict_here(own.network, thetas, images, own.data, way=own.way, precision=own.precision)
            log_probs = asked[:count]
            for score, accuracy, loss in zip(found, *_scores(log_probs, images), strict=True):
                score[split] = (float(accuracy), float(loss))
        return found


def _scores(log_probs: Tensor, images: Images) -> Scores:
    wide, labels = log_probs.double(), images.labels.cpu()
    return member_accuracies(wide, labels), member_nlls(wide, labels)


def segment(i: int, j: int, alpha: float, count: int) -> Float[Tensor, " K"]:
    """The row (1−α) e_i + α e_j."""
    row = torch.zeros(count, dtype=torch.float64)
    row[i], row[j] = 1 - alpha, alpha
    return row
