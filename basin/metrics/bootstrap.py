"""How far a number would move with other test images and other seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from basin.errors import UsageError
from basin.metrics import Labels, LogProbs, Metric
from basin.seeds import generator

LEVEL = 0.95
CHUNK = 100
"""Resamples whose images are drawn at once."""


@dataclass(frozen=True)
class Interval:
    """A number and the ends of its 95 % percentile interval (Efron and Tibshirani 1993, section 13.3)."""

    value: float
    low: float
    high: float


def interval(
    metric: Metric, runs: Sequence[LogProbs], labels: Labels, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The metric's mean over runs (one ensemble a seed, common test images), with its percentile bootstrap interval.

    A resample draws images with replacement, the same for all runs since they share the test set, and runs with
    replacement; with one run the interval is over images alone. The draws are a function of `seed` and of the numbers
    of images, runs and resamples. The ends are the values left when 2.5 % of the resamples are dropped on each side,
    never interpolated, so that infinite resamples give an infinite end. Raises UsageError as `replicates` does.
    """
    table = replicates(metric, runs, labels, resamples=resamples, seed=seed)
    return summary(table, seed)


def difference(
    metric: Metric,
    runs: Sequence[LogProbs],
    others: Sequence[LogProbs],
    labels: Labels,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The mean over seeds of metric(run) − metric(other), with the interval of `interval`.

    Paired: both sides see the same resampled images, and `runs[s]` and `others[s]` are of the same seed. Two infinite
    values of the same sign differ by 0; NaN if seeds differ by inf and by −inf. Raises UsageError for different
    numbers of runs, and as `replicates` does.
    """
    if len(runs) != len(others):
        raise UsageError(f"paired runs: expected the same seeds on both sides, got {len(runs)} and {len(others)}")
    own, other = (replicates(metric, side, labels, resamples=resamples, seed=seed) for side in (runs, others))
    return summary(torch.where(own == other, 0.0, own - other), seed)


def replicates(
    metric: Metric, runs: Sequence[LogProbs], labels: Labels, *, resamples: int, seed: int
) -> Float[Tensor, "rows runs"]:
    """The metric of each run on the images as they are (row 0), and on each resample of them.

    A mean over images resamples its values (milliseconds); any other metric is computed anew on each resample of the
    predictions, `resamples` times its own cost.
    Raises UsageError without runs, without images, without resamples, and for a metric that needs another split.
    """
    if not runs or not len(labels) or resamples < 1:
        raise UsageError(
            f"bootstrap of {len(runs)} runs on {len(labels)} images, {resamples} times: expected 1 or more of each"
        )
    if metric.needs:
        raise UsageError(
            f"bootstrap of {metric.name}, which needs {', '.join(metric.needs)}: expected predictions only"
        )
    columns = [_of_run(metric, run.double(), labels.cpu(), resamples, seed) for run in runs]
    return torch.stack(columns, dim=1)


def _of_run(metric: Metric, log_probs: LogProbs, labels: Labels, resamples: int, seed: int) -> Float[Tensor, " rows"]:
    draws = _draws(len(labels), resamples, seed)
    if metric.per_image is not None:
        values = metric.per_image(log_probs, labels)
        return torch.cat([values.mean().unsqueeze(0), *(values[chosen].mean(dim=1) for chosen in draws)])
    found = [metric.compute(log_probs, labels)]
    found += [metric.compute(log_probs[:, row], labels[row]) for chosen in draws for row in chosen]
    return torch.tensor(found, dtype=torch.float64)


def _draws(images: int, resamples: int, seed: int) -> Iterator[Int[Tensor, "chunk N"]]:
    draw = generator("bootstrap images", seed, images, resamples)
    for begin in range(0, resamples, CHUNK):
        yield torch.randint(images, (min(CHUNK, resamples - begin), images), generator=draw)


def summary(table: Float[Tensor, "rows runs"], seed: int = 0) -> Interval:
    """The mean over runs of row 0, with the interval of the means over resampled runs of every other row.

    The rows are those of `replicates`: values on a resample of the images; copies of row 0 leave the runs alone.
    """
    resamples, runs = len(table) - 1, table.shape[1]
    chosen = torch.randint(runs, (resamples, runs), generator=generator("bootstrap runs", seed, runs, resamples))
    ordered = table[1:].gather(1, chosen).mean(dim=1).sort().values.tolist()
    skipped = math.floor((1 - LEVEL) / 2 * resamples)
    return Interval(float(table[0].mean()), ordered[skipped], ordered[-1 - skipped])
