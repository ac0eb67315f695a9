"""Per-image results of a trial's networks, for the table `outcomes`: input of verdicts, intervals and comparisons."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from basin.connectivity.batchnorm import HEADLINE
from basin.connectivity.hull import hull_rows
from basin.connectivity.pairs import Pairs
from basin.connectivity.probe import Probe, segment_row
from basin.metrics import LogProbs
from basin.metrics.prediction import ensemble_log_probs, label_log_probs
from basin.metrics.temperature import calibrated_nlls
from basin.seeds import make_generator

Kind = Literal["ensemble", "member", "soup", "path", "hull", "size"]
Values = NDArray[np.floating]
SUBSETS = 10
"""Subsets of the members that stand for all subsets of a size, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageResults:
    """Results of one network, or of one ensemble, on each image of a split."""

    split: str
    kind: Kind
    policy: str | None = None
    """BatchNorm policy; None if networks are used as they were trained."""
    weights: tuple[float, ...] | None = None
    """Row of the mixing matrix over the members; None for an ensemble."""
    size: int | None = None
    """Members of an ensemble."""
    judged: bool | None = None
    """For a network inside a path: whether the verdict is about this pair."""
    correct: NDArray[np.bool_] | None = None
    """Mask of the images that are classified correctly; None for results averaged over several ensembles."""
    share: Values | None = None
    """Share of the subsets of this size that classify the image correctly."""
    nll: Values
    """Negative log-likelihood, in nats."""
    calibrated_nll: Values | None = None
    """NLL at the cross-validated temperature, for ensembles (Ashukha 2020)."""


@dataclass(frozen=True)
class Size:
    """Means over subsets of one number of members, on one split."""

    split: str
    size: int
    subsets: int
    accuracy: float
    """In percent."""
    nll: float
    calibrated_log_likelihood: float


def member_subsets(count: int, size: int) -> list[tuple[int, ...]]:
    """Return all subsets of `size` of `count` members, or ten different ones, the same for every such ensemble."""
    if math.comb(count, size) <= SUBSETS:
        return list(combinations(range(count), size))
    draw, chosen = make_generator("subsets", count, size), dict[tuple[int, ...], None]()
    while len(chosen) < SUBSETS:
        chosen[tuple(sorted(torch.randperm(count, generator=draw)[:size].tolist()))] = None
    return list(chosen)


def of_members(split: str, log_probs: LogProbs, labels: Tensor) -> Iterator[ImageResults]:
    """Yield the results of each member."""
    for k, (member, unit) in enumerate(zip(log_probs, torch.eye(len(log_probs)).tolist(), strict=True)):
        correct = (member.argmax(dim=1) == labels).numpy()
        yield ImageResults(
            split=split,
            kind="member",
            weights=tuple(unit),
            correct=correct,
            nll=_label_losses(log_probs[k : k + 1], labels),
        )


def of_sizes(split: str, log_probs: LogProbs, labels: Tensor) -> Iterator[ImageResults]:
    """Yield the mean results of ensembles of 1, 2, … all members, then those of the ensemble itself."""
    count = len(log_probs)
    for size in range(1, count + 1):
        ensembles = [ensemble_log_probs(log_probs[list(some)]) for some in member_subsets(count, size)]
        hits = [ensemble.argmax(dim=1) == labels for ensemble in ensembles]
        nll = _mean_values([-label_log_probs(ensemble[None], labels)[0] for ensemble in ensembles])
        calibrated = _mean_values([calibrated_nlls(ensemble, labels) for ensemble in ensembles])
        yield ImageResults(
            split=split, kind="size", size=size, share=_mean_values(hits), nll=nll, calibrated_nll=calibrated
        )
    whole = hits[0].numpy()
    yield ImageResults(split=split, kind="ensemble", size=count, correct=whole, nll=nll, calibrated_nll=calibrated)


def summarise_sizes(results: Sequence[ImageResults], members: int) -> list[Size]:
    """Summarise the results of each number of members."""
    return [
        Size(
            result.split,
            result.size,
            len(member_subsets(members, result.size)),
            100 * float(result.share.mean()),
            float(result.nll.mean()),
            -float(result.calibrated_nll.mean()),
        )
        for result in results
        if result.kind == "size" and result.size and result.share is not None and result.calibrated_nll is not None
    ]


def of_soup(split: str, log_probs: LogProbs, labels: Tensor, members: int) -> ImageResults:
    """Return the results of the one network at the centroid of so many members."""
    return ImageResults(
        split=split,
        kind="soup",
        policy=HEADLINE,
        weights=(1 / members,) * members,
        correct=(log_probs[0].argmax(dim=1) == labels).numpy(),
        nll=_label_losses(log_probs, labels),
    )


def of_mixtures(
    probe: Probe, pairs: Pairs, *, alphas: Sequence[float], points: int, splits: Sequence[str]
) -> Iterator[ImageResults]:
    """Yield the results of the ends, inside the paths, at the centroid and at random points of the hull."""
    count = len(probe.ends(HEADLINE))
    if count < 2:
        return
    inner = [alpha for alpha in alphas if 0 < alpha < 1]
    units = [(row, "path", None) for row in torch.eye(count, dtype=torch.float64)]
    inside = [
        (segment_row(*pair, alpha, count), "path", pair in pairs.judged)
        for pair, alpha in product(pairs.measured, inner)
    ]
    around = [(row, "hull", None) for row in hull_rows(count, points)]
    asked: list[tuple[Tensor, Kind, bool | None]] = [*units, *inside, *around]  # type: ignore[list-item]
    scored = probe.mixed(torch.stack([row for row, _, _ in asked]), HEADLINE)
    for (row, kind, judged), scores in zip(asked, scored, strict=True):
        for split in splits:
            yield ImageResults(
                split=split,
                kind=kind,
                policy=HEADLINE,
                weights=tuple(row.tolist()),
                judged=judged,
                correct=scores[split].correct.numpy(),
                nll=scores[split].nll.numpy(),
            )


def _label_losses(log_probs: LogProbs, labels: Tensor) -> Values:
    return -label_log_probs(log_probs, labels)[0].numpy()


def _mean_values(parts: Sequence[Tensor]) -> Values:
    return torch.stack(list(parts)).double().mean(dim=0).numpy()
