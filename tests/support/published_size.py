"""Bytes that one published trial takes, by rows of its table `outcomes`: `python -m tests.support.published_size`.

Four members, 10,000 test images, of which 5,000 on paths with five points inside; synthetic losses as of a network
with 88 % accuracy on CIFAR-10, whose members agree as those of independent networks do.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.published import files, image_table
from basin.outcome_file import round_to_half
from sweeps.storage.outcomes import pack_correct
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.table_file import encode_table

MEMBERS, IMAGES, PATH_IMAGES, INSIDE, HULL = 4, 10_000, 5_000, 5, 9
KINDS = {
    "ensemble, members and soup": ("ensemble", "member", "soup"),
    "paths and hull": ("path", "hull"),
    "subsets, of deep ensembles": ("size",),
}


def make_outcomes() -> pa.Table:
    """Rows of one trial on test."""
    rng = np.random.default_rng(0)
    members = 3.0 - rng.normal(0, 2.2, IMAGES) + rng.normal(0, 1.3, (MEMBERS, IMAGES))
    units, pairs = np.eye(MEMBERS), list(combinations(range(MEMBERS), 2))
    alphas = np.linspace(0, 1, INSIDE + 2)[1:-1]
    inside = [(1 - a) * units[i] + a * units[j] for i, j in pairs for a in alphas]
    rows = [_row("ensemble", members.mean(axis=0), size=MEMBERS, calibrated=True), _row("soup", members.mean(axis=0))]
    rows += [_row("member", margin, weights=units[k]) for k, margin in enumerate(members)]
    for kind, weights in (("path", [*units, *inside]), ("hull", rng.dirichlet(np.ones(MEMBERS), HULL))):
        for one in weights:
            margin = (one @ members)[:PATH_IMAGES] + rng.normal(0, 0.5, PATH_IMAGES)
            rows.append(_row(kind, margin, weights=one, judged=(kind == "path" and max(one) < 1) or None))
    rows += [_row("size", members[:size].mean(axis=0), size=size, calibrated=True) for size in range(1, MEMBERS + 1)]
    return pa.Table.from_pylist(rows, SCHEMAS["outcomes"]())


def _row(
    kind: str, margin: np.ndarray, *, calibrated: bool = False, weights: Any = None, **more: Any
) -> dict[str, Any]:
    losses = np.logaddexp(0, -1.3 * margin)
    row = {"key": "0" * 16, "split": "test", "kind": kind, "images": len(margin), "nll": round_to_half(losses), **more}
    row |= {"weights": None if weights is None else list(weights), "correct": pack_correct(margin > 0)}
    return row | ({"calibrated_nll": round_to_half(0.9 * losses)} if calibrated else {})


def published_sizes() -> dict[str, tuple[int, int]]:
    """Rows → bytes in a sweep's own file, and as published."""
    table = make_outcomes()
    sizes = {}
    for name, kinds in KINDS.items():
        chosen = table.filter(pa.compute.is_in(table["kind"], pa.array(kinds)))
        kept = image_table.encode(image_table.trim(chosen, {"construction": "deep"}))
        sizes[name] = len(encode_table(chosen)), len(files.encode_tables([kept]))
    return sizes


if __name__ == "__main__":
    print("| rows of `outcomes` | in the sweep's folder | published |\n|---|---|---|")
    for name, (before, after) in published_sizes().items():
        print(f"| {name} | {before / 1000:.0f} kB | {after / 1000:.0f} kB |")
