"""Compute metrics from stored predictions, or from rows of other trials. No network is run."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from basin.data import DataSplit, datasets
from basin.errors import UsageError, one_of
from basin.metrics import Metric, Predictions, all_metrics
from basin.models import models
from basin.seeds import make_generator
from basin.spec import describe_fields
from basin.training.loop import Training
from stats.equivalent import Equivalent, deep_ensemble_equivalent, equivalent_interval
from stats.intervals import Estimate, estimate, estimate_resampled
from sweeps.storage.columns import distinguishing_names
from sweeps.storage.store import Row, Store

LIKELIHOOD = "test_calibrated_log_likelihood"


@dataclass(frozen=True)
class Rescored:
    """A metric of one configuration: the mean over its seeds."""

    rows: list[Row]
    """Its trials, which differ only in their seed."""
    value: Estimate
    """With an interval over images, and over seeds if there are several."""


@dataclass(frozen=True)
class Worth:
    """Deep-ensemble equivalent of a configuration."""

    rows: list[Row]
    equivalent: Equivalent


def rescore_metric(store: Store, name: str, *, split: str = "test", resamples: int = 1000) -> list[Rescored]:
    """Compute a metric of every configuration with stored predictions, with its interval (`stats.intervals`).

    For a metric that is not a mean over images, images are resampled `resamples` times; 0 computes no intervals. Other
    splits and datasets that a metric needs are not resampled. Raises UsageError for an unknown metric and for missing
    predictions.
    """
    known = all_metrics()
    if name not in known:
        raise one_of("metric", name, known)
    metric = known[name]
    if metric.needs and split == "val":
        raise UsageError(f"--metric {name}: expected --split test, as it needs another split or dataset")
    rows = [row for row in store.intact_rows() if store.table_path("predictions", row["key"]).exists()]
    if not rows:
        raise UsageError(
            f"sweep {store.name!r} has no stored predictions: run it under another --name with --set predictions=true"
        )
    return [_rescore_rows(store, group, metric, split, resamples) for group in group_configurations(rows)]


def group_configurations(rows: Iterable[Row]) -> list[list[Row]]:
    """Group trials that differ only in their seed; sort each group by seed."""
    names = ("dataset", "model", "construction", "data_hash", "ood_hash", *distinguishing_names())
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return [sorted(group, key=lambda row: row["seed"]) for group in groups.values()]


def _rescore_rows(store: Store, rows: list[Row], metric: Metric, split: str, resamples: int) -> Rescored:
    if resamples and metric.per_image is not None:
        stored = (load_predictions(store, row["key"], split) for row in rows)
        return Rescored(rows, estimate([metric.per_image(*inputs).tolist() for inputs in stored]))
    values, drawn, images = [], [], 1
    for row in rows:
        log_probs, labels = load_predictions(store, row["key"], split)
        images, compute = len(labels), partial(metric.compute, **_extra_inputs(store, row["key"], metric))
        values.append(compute(log_probs, labels))
        if resamples:
            drawn.append(
                [compute(log_probs[:, chosen], labels[chosen]) for chosen in bootstrap_draws(images, resamples)]
            )
    if not resamples:
        return Rescored(rows, Estimate(fmean(values), None, len(rows)))
    return Rescored(rows, estimate_resampled(values, np.array(drawn).T, images))


def bootstrap_draws(images: int, resamples: int) -> Int[Tensor, "resamples images"]:
    """Draw images with replacement; the draws are the same for every seed, as seeds share the images."""
    return torch.randint(
        images, (resamples, images), generator=make_generator("bootstrap images", 0, images, resamples)
    )


def _extra_inputs(store: Store, key: str, metric: Metric) -> dict[str, object]:
    given: dict[str, Callable[[], object]] = {
        "fit": lambda: load_predictions(store, key, "val"),
        "ood": lambda: load_predictions(store, key, "ood")[0],
    }
    return {need: given[need]() for need in metric.needs}


def load_predictions(store: Store, key: str, split: str) -> Predictions:
    """Stored predictions of a trial, [M, N, C] in float64 (stored as float16), and the labels."""
    table = store.table("predictions", key)
    chosen = np.asarray(table["split"].to_pylist()) == split
    if not chosen.any():
        raise UsageError(
            f"trial {key} has no stored predictions of {split!r}: run it under another --name with "
            f"--set predictions=true{' --set ood=DATASET' if split == 'ood' else ''}"
        )
    members = np.asarray(table["member"])[chosen]
    labels = np.asarray(table["label"])[chosen]
    values = np.stack(table["log_probs"].to_numpy(zero_copy_only=False)[chosen]).astype(np.float64)
    count = int(members.max()) + 1
    log_probs = torch.from_numpy(values).reshape(count, -1, values.shape[1])
    return torch.log_softmax(log_probs, dim=2), torch.from_numpy(labels[: len(labels) // count].copy())


def ensemble_equivalents(store: Store, curve: Store) -> list[Worth]:
    """Compute the deep-ensemble equivalent of each configuration from the deep ensembles of another sweep.

    It compares means over seeds with the same data, model and training. Raises UsageError if the other sweep has no
    such deep ensembles.
    """
    rows = [row for row in store.intact_rows() if _has_likelihood(row)]
    return [_ensemble_equivalent(group, curve) for group in group_configurations(rows)]


def _has_likelihood(row: Row) -> bool:
    return row.get(LIKELIHOOD) is not None and not math.isnan(row[LIKELIHOOD])


def _ensemble_equivalent(rows: list[Row], curve: Store) -> Worth:
    sizes = deep_likelihoods(curve, rows[0])
    if not sizes:
        raise UsageError(
            f"--curve {curve.name}: expected deep ensembles of {rows[0]['dataset']} and {rows[0]['model']}, found none "
            "of the same data, model and training; run `launch.py sweep ensemble-size` with the same settings"
        )
    by_seed = {row["seed"]: row[LIKELIHOOD] for row in rows}
    shared = set.intersection(*(set(values) for values in sizes.values()))
    together = sorted(shared & by_seed.keys())
    if min(len(shared), len(by_seed)) < 2:
        means = {members: fmean(values.values()) for members, values in sizes.items()}
        return Worth(rows, deep_ensemble_equivalent(fmean(by_seed.values()), means))
    paired = len(together) > 1
    seeds, deep_seeds = (together, together) if paired else (sorted(by_seed), sorted(shared))
    deep = {members: [[values[seed]] for seed in deep_seeds] for members, values in sizes.items()}
    return Worth(rows, equivalent_interval([[by_seed[seed]] for seed in seeds], deep, same_seeds=paired))


def deep_likelihoods(curve: Store, like: Mapping[str, object]) -> dict[int, dict[int, float]]:
    """Members → seed → finite calibrated log-likelihood of deep ensembles with the same recipe."""
    same = {"dataset", "data_hash", "model"}
    for section in (DataSplit, Training, *datasets.classes(), *models.classes()):
        same |= {field.name for field in describe_fields(section)}
    values: dict[int, dict[int, float]] = {}
    for row in curve.intact_rows():
        alike = row["construction"] == "deep" and all(row.get(name) == like.get(name) for name in same)
        if alike and _has_likelihood(row) and math.isfinite(row[LIKELIHOOD]):
            values.setdefault(row["members"], {})[row["seed"]] = row[LIKELIHOOD]
    return values
