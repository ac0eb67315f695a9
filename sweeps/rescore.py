"""Numbers computed after the fact: from kept predictions, or from other trials' rows. No network is run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import numpy as np
import torch

from basin.data import Split, datasets
from basin.errors import UsageError, one_of
from basin.metrics import Metric, Predictions, metrics
from basin.metrics.bootstrap import Interval, replicates, summary
from basin.metrics.equivalent import Equivalent, deep_ensemble_equivalent
from basin.models import models
from basin.spec import describe
from basin.training import Training
from sweeps.schemas import hyperparameters
from sweeps.store import Row, Store

LIKELIHOOD = "test_calibrated_log_likelihood"


@dataclass(frozen=True)
class Rescored:
    """The number of one configuration: the mean over its seeds."""

    rows: list[Row]
    """Its trials, which differ in their seed only."""
    value: float
    interval: Interval | None
    """Over images, and over seeds if there are several; where it was asked for."""


@dataclass(frozen=True)
class Worth:
    """How many members of a deep ensemble a configuration is worth."""

    rows: list[Row]
    equivalent: Equivalent
    ends: tuple[Equivalent, Equivalent] | None
    """Of the 95 % interval over seeds, if there are several; the curve is taken as it is."""


def rescore(store: Store, name: str, *, split: str = "test", resamples: int = 1000) -> list[Rescored]:
    """The metric of every configuration that keeps its predictions, with its bootstrap interval.

    The interval of a metric that needs another dataset is over the own images. Raises UsageError for an unknown
    metric, and if no trial keeps the predictions that it needs.
    """
    known = metrics()
    if name not in known:
        raise one_of("metric", name, known)
    metric = known[name]
    if metric.needs and split == "val":
        raise UsageError(f"--metric {name}: expected --split test, for it needs another split or dataset")
    rows = [row for row in store.rows() if store.path("predictions", row["key"]).exists()]
    if not rows:
        raise UsageError(
            f"sweep {store.name!r} keeps no predictions: run it under another --name with --set predictions=true"
        )
    return [_rescored(store, own, metric, split, resamples) for own in configurations(rows)]


def configurations(rows: Iterable[Row]) -> list[list[Row]]:
    """The trials grouped by all that they are but their seed, by seed within a group."""
    names = ("dataset", "model", "construction", "data_hash", "ood_hash", *(f.name for f in hyperparameters()))
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return [sorted(own, key=lambda row: row["seed"]) for own in groups.values()]


def _rescored(store: Store, rows: list[Row], metric: Metric, split: str, resamples: int) -> Rescored:
    columns = []
    for row in rows:
        log_probs, labels = predictions(store, row["key"], split)
        own = metric
        if metric.needs:
            own = replace(metric, compute=partial(metric.compute, **_needed(store, row["key"], metric)), needs=())
        if resamples:
            columns.append(replicates(own, [log_probs], labels, resamples=resamples, seed=0))
        else:
            columns.append(torch.tensor([[own.compute(log_probs, labels)]], dtype=torch.float64))
    table = torch.cat(columns, dim=1)
    return Rescored(rows, float(table[0].mean()), summary(table) if resamples else None)


def _needed(store: Store, key: str, metric: Metric) -> dict[str, object]:
    given: dict[str, Callable[[], object]] = {
        "fit": lambda: predictions(store, key, "val"),
        "ood": lambda: predictions(store, key, "ood")[0],
    }
    return {need: given[need]() for need in metric.needs}


def predictions(store: Store, key: str, split: str) -> Predictions:
    """A trial's kept predictions, [M, N, C] in float64, and the labels; float16 keeps three digits of a logarithm."""
    table = store.table("predictions", key)
    chosen = np.asarray(table["split"].to_pylist()) == split
    if not chosen.any():
        raise UsageError(
            f"trial {key} keeps no predictions of {split!r}: run it under another --name with --set predictions=true"
            + " --set ood=DATASET" * (split == "ood")
        )
    members = np.asarray(table["member"])[chosen]
    labels = np.asarray(table["label"])[chosen]
    values = np.stack(table["log_probs"].to_numpy(zero_copy_only=False)[chosen]).astype(np.float64)
    count = int(members.max()) + 1
    log_probs = torch.from_numpy(values).reshape(count, -1, values.shape[1])
    return torch.log_softmax(log_probs, dim=2), torch.from_numpy(labels[: len(labels) // count].copy())


def equivalents(store: Store, curve: Store) -> list[Worth]:
    """How many members of a deep ensemble each configuration is worth, by the deep ensembles of another sweep.

    Compared are means over seeds, with the same data, model and training. Raises UsageError if the other sweep has no
    such deep ensembles.
    """
    return [
        _worth(own, curve) for own in configurations(row for row in store.rows() if row.get(LIKELIHOOD) is not None)
    ]


def _worth(rows: list[Row], curve: Store) -> Worth:
    points = deep_curve(curve, rows[0])
    if not points:
        raise UsageError(
            f"--curve {curve.name}: expected deep ensembles of {rows[0]['dataset']} and {rows[0]['model']}, found none "
            "of the same data, model and training; run `launch.py sweep ensemble-size` with the same settings"
        )
    values = torch.tensor([row[LIKELIHOOD] for row in rows], dtype=torch.float64)
    found = summary(values.expand(1001, -1))
    low, value, high = (deep_ensemble_equivalent(end, points) for end in (found.low, found.value, found.high))
    return Worth(rows, value, (low, high) if len(rows) > 1 else None)


def deep_curve(curve: Store, like: Mapping[str, object]) -> dict[int, float]:
    """Members → calibrated log-likelihood of the deep ensembles of the same recipe, mean over seeds."""
    sections = [Split, Training, *datasets.classes(), *models.classes()]
    same = {"dataset", "data_hash", "model", *(field.name for section in sections for field in describe(section))}
    values: dict[int, list[float]] = {}
    for row in curve.rows():
        if row["construction"] == "deep" and all(row.get(name) == like.get(name) for name in same):
            values.setdefault(row["members"], []).append(row[LIKELIHOOD])
    return {members: fmean(own) for members, own in values.items()}
