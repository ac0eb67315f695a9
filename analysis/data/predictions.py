"""Per-image values of ensembles, computed from the table `predictions` of trials that store it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp  # type: ignore[import-untyped]

from analysis.data.results import Row, Tables
from analysis.errors import Missing


def _is_correct(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """100 where the ensemble is right, else 0; a tie goes to the first class."""
    return np.asarray(100.0 * (log_probs.argmax(axis=1) == labels))


def _label_loss(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log p of the label, in nats."""
    return np.asarray(-log_probs[np.arange(len(labels)), labels])


PER_IMAGE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"accuracy": _is_correct, "nll": _label_loss}
"""Metric → its value for each image, whose mean is the metric; of the mean of the members' probabilities."""


def by_seed(tables: Tables, rows: Sequence[Row], metric: str, split: str | None = None) -> dict[int, np.ndarray]:
    """Return a metric's value for each image, by seed; empty if it is no mean over images."""
    if metric not in PER_IMAGE:
        return {}
    values = {}
    for row in rows:
        kept = _load_ensemble(tables, row["key"], split or tables.split)
        if kept is not None:
            values[row["seed"]] = PER_IMAGE[metric](*kept)
    return values


@lru_cache(maxsize=64)
def _load_ensemble(tables: Tables, key: str, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the ensemble's log-probabilities [N, C] (of the mean over members) and labels [N]; None if absent.

    They are kept in float16: three digits of a logarithm, renormalised here.
    """
    try:
        table = tables.load("predictions", [key])
    except Missing:
        return None
    chosen = np.asarray(table["split"].to_pylist()) == split
    if not chosen.any():
        return None
    members, labels = np.asarray(table["member"])[chosen], np.asarray(table["label"])[chosen]
    flat = table["log_probs"].combine_chunks()
    classes = len(flat[0])
    values = np.asarray(flat.flatten(), dtype=np.float64).reshape(-1, classes)[chosen]
    stacked = values.reshape(int(members.max()) + 1, -1, classes)
    stacked -= logsumexp(stacked, axis=2, keepdims=True)
    return logsumexp(stacked, axis=0) - np.log(len(stacked)), labels[: stacked.shape[1]]
