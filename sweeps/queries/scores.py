"""Means of a configuration's scores over seeds, with their intervals."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from stats.intervals import Estimate, estimate_by_seed
from sweeps.storage.outcomes import PER_IMAGE, decode


def estimate_scores(
    rows: Sequence[Mapping[str, Any]], tables: Sequence[pa.Table], split: str, metrics: Sequence[str]
) -> dict[str, Estimate]:
    """Estimate the metrics of a configuration from the rows and `outcomes` tables of its seeds, where it has them."""
    estimates = {}
    for metric in metrics:
        values = {row["seed"]: row[name] for row in rows if row.get(name := f"{split}_{metric}") is not None}
        images = {}
        for row, table in zip(rows, tables, strict=True):
            per_image = PER_IMAGE[metric](partial(decode, table, split))
            if per_image is not None:
                images[row["seed"]] = per_image
        if estimate := estimate_by_seed(values, images):
            estimates[metric] = estimate
    return estimates
