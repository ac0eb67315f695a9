"""Per-image results of a trial's networks, read from table `outcomes`."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from analysis.data.results import Row, Tables
from analysis.errors import Missing
from sweeps.storage.outcomes import LIKELIHOOD, OF_ENDS, PER_IMAGE, Columns, Shortfalls, decode, scores
from sweeps.storage.outcomes import shortfalls as of_table

By = Literal["accuracy", "loss"]
__all__ = ["LIKELIHOOD", "OF_ENDS", "PER_IMAGE", "By", "by_seed", "by_size", "trial_shortfalls"]


@lru_cache(maxsize=16)
def _load_table(tables: Tables, key: str) -> Any:
    """Return a trial's table; None for a trial without one."""
    try:
        return tables.load("outcomes", [key])
    except Missing:
        return None


def _load_columns(tables: Tables, key: str, split: str, kind: str) -> Columns:
    table = _load_table(tables, key)
    return {} if table is None else decode(table, split, kind)


def by_seed(tables: Tables, rows: Sequence[Row], metric: str, split: str | None = None) -> dict[int, np.ndarray]:
    """Return a metric's value for each image, by seed; empty if it is not a mean over images or was not stored."""
    split = split or tables.split
    with suppress(Missing):
        metric = tables.column(metric, rows, split).removeprefix(f"{split}_")  # with its policy, if it has one
    if metric not in PER_IMAGE:
        return {}
    kept = {row["seed"]: _image_values(tables, row["key"], metric, split) for row in rows}
    return {seed: values for seed, values in kept.items() if values is not None}


@lru_cache(maxsize=512)
def _image_values(tables: Tables, key: str, metric: str, split: str) -> np.ndarray | None:
    return PER_IMAGE[metric](lambda kind: _load_columns(tables, key, split, kind))


def by_size(
    tables: Tables, rows: Sequence[Row], metric: str, split: str | None = None
) -> dict[int, dict[int, np.ndarray]]:  # fmt: skip
    """Return a metric's value for each image by number of members, then by seed: means over subsets of the members."""
    sizes: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
    for row in rows:
        columns = _load_columns(tables, row["key"], split or tables.split, "size")
        values = scores(columns, metric)
        if values is not None:
            for size, images in zip(columns["size"], values, strict=True):
                sizes[int(size)][row["seed"]] = images
    return dict(sorted(sizes.items()))


def trial_shortfalls(
    tables: Tables, key: str, *, by: By = "accuracy", hull: bool = False, split: str
) -> Shortfalls | None:
    """Return the losses of a trial's mixed networks against their chords; None if the trial did not store them."""
    table = _load_table(tables, key)
    try:
        return table and of_table(table, split, "accuracy" if by == "accuracy" else "nll", "hull" if hull else "path")
    except ValueError:
        return None
