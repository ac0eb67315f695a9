"""Score the mixtures of one ensemble's members on several splits, once each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from basin import stack
from basin.connectivity.batchnorm import POLICIES, Mixer, MixingContext
from basin.data import Images
from basin.metrics.prediction import label_log_probs
from basin.prediction import even_places, predict_here
from basin.stack import Stack
from basin.training.network import Network


@dataclass(frozen=True, eq=False)
class Score:
    """Results of one network on one split."""

    accuracy: float
    """In percent."""
    loss: float
    """Mean negative log-likelihood, in nats."""
    correct: Bool[Tensor, " N"]
    """Mask of the images that are classified correctly; empty if the probe keeps only means."""
    nll: Float[Tensor, " N"]
    """Negative log-likelihood of each image, in nats; empty if the probe keeps only means."""


Scores = dict[str, Score]
"""Split → results of one network."""
Asked = tuple[Float[Tensor, "S splits 2"], Bool[Tensor, "S N"], Float[Tensor, "S N"]]


@dataclass
class Probe:
    """Scores mixtures of members and remembers the results."""

    context: MixingContext
    splits: Mapping[str, Images]
    per_image: bool = True
    """Whether per-image results are kept; a plane's hundreds of networks need only their means."""
    _mixers: dict[str, Mixer] = field(default_factory=dict)
    _seen: dict[tuple[str, tuple[float, ...]], Scores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = replace(self.context, way=self.context.network.engine.evaluation())

    def ends(self, policy: str) -> list[Scores]:
        """Score the members under a BatchNorm policy, as the networks between them are scored."""
        return self.mixed(stack.unit_rows(stack.count_networks(self.context.members)), policy)

    def mixed(self, rows: Float[Tensor, "S K"], policy: str) -> list[Scores]:
        """Score the networks `rows @ members` under a BatchNorm policy; each row sums to 1."""
        if self._one_network:  # every mixture is that network, without rounding
            rows = stack.unit_rows(rows.shape[1])[:1].expand(len(rows), -1)
        names = [(policy, tuple(row)) for row in rows.tolist()]
        fresh = list(dict.fromkeys(name for name in names if name not in self._seen))
        if fresh:
            mixer, way = self._policy_mixer(policy), self.context.way
            self._predictor  # noqa: B018 (made here, not by several threads at once)
            asked = torch.tensor([row for _, row in fresh], dtype=torch.float64)
            parts = way.map(lambda chosen: self._score_rows(mixer, asked[chosen]), way.parts(len(asked)))
            # The only synchronisation with a GPU: the first copy waits, the others find finished work.
            means, correct, nll = (torch.cat(some).cpu() for some in zip(*parts, strict=True))
            sizes = [len(images) for images in self.splits.values()] if self.per_image else [0] * len(self.splits)
            pairs = zip(correct.split(sizes, dim=1), nll.split(sizes, dim=1), strict=True)
            by_image = dict(zip(self.splits, pairs, strict=True))
            for place, (name, scores) in enumerate(zip(fresh, means.tolist(), strict=True)):
                self._seen[name] = {
                    split: Score(*both, *(some[place] for some in by_image[split]))
                    for split, both in zip(self.splits, scores, strict=True)
                }
        return [self._seen[name] for name in names]

    @cached_property
    def _one_network(self) -> bool:
        """True if all members are identical, as at t = 1."""
        floating = [tensor for tensor in self.context.members.values() if tensor.is_floating_point()]
        return all(bool((tensor == tensor[:1]).all()) for tensor in floating)

    def _policy_mixer(self, policy: str) -> Mixer:
        if policy not in self._mixers:
            self._mixers[policy] = POLICIES[policy](self.context)
        return self._mixers[policy]

    @cached_property
    def _predictor(self) -> tuple[Network, Callable[[Stack], Stack]]:
        """The network that mixed networks predict with, and what makes its weights of theirs."""
        example, _ = self._joined_images.take(torch.arange(min(2, len(self._joined_images))))
        return self.context.network.without_batchnorms(self.context.data.normalise(example))

    def _score_rows(self, mixer: Mixer, rows: Tensor) -> Asked:
        """Score some networks, on the network's device."""
        context, count = self.context, len(rows)
        mixed = mixer(rows[even_places(count)] if context.way.name == "graphs" else rows)
        network, fold = self._predictor
        asked = predict_here(
            network, fold(mixed), self._joined_images, context.data, way=context.way, precision=context.precision
        )[:count]
        wide, labels = asked.double(), self._joined_images.labels.to(asked.device)
        correct, nll = asked.argmax(dim=2) == labels, -label_log_probs(wide, labels)
        sizes = [len(images) for images in self.splits.values()]
        means = [
            torch.stack([100 * hits.double().mean(dim=1), losses.mean(dim=1)], dim=1)
            for hits, losses in zip(correct.split(sizes, dim=1), nll.split(sizes, dim=1), strict=True)
        ]
        kept = slice(None) if self.per_image else slice(0)
        return torch.stack(means, dim=1), correct[:, kept], nll[:, kept].float()

    @cached_property
    def _joined_images(self) -> Images:
        """The images of all splits together: few large batches cost less than many small ones."""
        every = [images.take(torch.arange(len(images))) for images in self.splits.values()]
        pixels, labels = (torch.cat(parts) for parts in zip(*every, strict=True))
        return Images(pixels, labels, torch.arange(len(labels), device=labels.device))


def segment_row(i: int, j: int, alpha: float, count: int) -> Float[Tensor, " K"]:
    """The row (1−α) e_i + α e_j."""
    row = torch.zeros(count, dtype=torch.float64)
    row[i], row[j] = 1 - alpha, alpha
    return row
