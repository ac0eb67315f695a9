"""Numbers computed after the fact: from kept predictions, or from other trials' rows. No network is run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from basin.errors import UsageError, one_of
from basin.metrics import Metric, Predictions, metrics
from basin.metrics.bootstrap import Interval, interval
from basin.metrics.equivalent import Equivalent, deep_ensemble_equivalent
from sweeps.store import Row, Store

LIKELIHOOD = "test_calibrated_log_likelihood"


@dataclass(frozen=True)
class Rescored:
    """One trial's number."""

    row: Row
    value: float
    interval: Interval | None
    """Over images, where it was asked for."""


def rescore(store: Store, name: str, *, split: str = "test", resamples: int = 0) -> list[Rescored]:
    """The metric of every trial that keeps its predictions; with `resamples` a bootstrap interval over images.

    Raises UsageError for an unknown metric, for one that needs another dataset, and if no trial keeps predictions.
    """
    known = metrics()
    if name not in known:
        raise one_of("metric", name, known)
    metric = known[name]
    if "ood" in metric.needs:
        raise UsageError(f"--metric {name}: expected one of predictions on this dataset; it needs another's")
    rows = [row for row in store.rows() if store.path("predictions", row["key"]).exists()]
    if not rows:
        raise UsageError(
            f"sweep {store.name!r} keeps no predictions: run it under another --name with --set predictions=true"
        )
    return [_rescored(store, row, metric, split, resamples) for row in rows]


def _rescored(store: Store, row: Row, metric: Metric, split: str, resamples: int) -> Rescored:
    log_probs, labels = predictions(store, row["key"], split)
    if metric.needs:
        if split == "val":
            raise UsageError(f"--metric {metric.name}: expected --split test, for it is fitted on validation")
        return Rescored(row, metric.compute(log_probs, labels, fit=predictions(store, row["key"], "val")), None)
    found = interval(metric, [log_probs], labels, resamples=resamples) if resamples else None
    return Rescored(row, metric.compute(log_probs, labels), found)


def predictions(store: Store, key: str, split: str) -> Predictions:
    """A trial's kept predictions, [M, N, C] in float64, and the labels; float16 keeps three digits of a logarithm."""
    table = store.table("predictions", key)
    chosen = np.asarray(table["split"].to_pylist()) == split
    members = np.asarray(table["member"])[chosen]
    labels = np.asarray(table["label"])[chosen]
    values = np.stack(table["log_probs"].to_numpy(zero_copy_only=False)[chosen]).astype(np.float64)
    count = int(members.max()) + 1
    log_probs = torch.from_numpy(values).reshape(count, -1, values.shape[1])
    return torch.log_softmax(log_probs, dim=2), torch.from_numpy(labels[: len(labels) // count].copy())


def equivalents(store: Store, curve: Store) -> list[tuple[Row, Equivalent]]:
    """How many members of a deep ensemble each trial is worth, by the deep ensembles of another sweep.

    Compared are trials with the same data, model and seeds' mean; raises UsageError if the other sweep has no deep
    ensembles of these data.
    """
    found = []
    for row in store.rows():
        points = deep_curve(curve, row)
        if not points:
            raise UsageError(
                f"--curve {curve.name}: expected deep ensembles of {row['dataset']} and {row['model']}, found none; "
                "run `launch.py sweep ensemble-size` with the same settings"
            )
        if row.get(LIKELIHOOD) is not None:
            found.append((row, deep_ensemble_equivalent(row[LIKELIHOOD], points)))
    return found


def deep_curve(curve: Store, like: Mapping[str, object]) -> dict[int, float]:
    """Members → calibrated log-likelihood of the deep ensembles of the same data and model, mean over seeds."""
    same = ("data_hash", "model", "width", "norm", "epochs")
    values: dict[int, list[float]] = {}
    for row in curve.rows():
        if row["construction"] == "deep" and all(row.get(name) == like.get(name) for name in same):
            values.setdefault(row["members"], []).append(row[LIKELIHOOD])
    return {members: sum(own) / len(own) for members, own in values.items()}
