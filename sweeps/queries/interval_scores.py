"""Scores of one trial with their intervals over images."""

from dataclasses import replace
from functools import partial

from stats.intervals import Estimate, estimate
from sweeps.storage.outcomes import PER_IMAGE, decode
from sweeps.storage.store import Row, Store

METRICS = ("accuracy", "nll")


def interval_scores(store: Store, row: Row, *, soup: bool = False) -> dict[str, Estimate]:
    """Accuracy and NLL of a trial's ensemble, or of its soup, by split, with 95 % intervals over images.

    Without per-image results, as in trials of the first versions, a score has no interval.
    """
    path = store.table_path("outcomes", row["key"])
    table = store.table("outcomes", row["key"]) if path.exists() else None
    found: dict[str, Estimate] = {}
    for split in ("val", "test"):
        for metric in METRICS:
            name = f"soup_{metric}" if soup else metric
            score, values = row[f"{split}_{name}"], None
            if table is not None:
                values = PER_IMAGE[name](partial(decode, table, split))
            over_images = Estimate(score, None, 1) if values is None else estimate(values[None])
            found[f"{split}_{metric}"] = replace(over_images, mean=score)
    return found
