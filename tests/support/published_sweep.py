"""Small sweeps: one with a manifest, to be published, and one of given grid points, as the page sees it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.queries import read_tables
from analysis.published.sweeps import Sweep
from tests.support import synthetic_results

MANIFEST = {"identity": "0" * 32, "base": {"epochs": 30}, "data": {"images": 400, "source": "/home/somebody/cifar.tar"}}
STUDY = 'summary = "Every construction, three seeds"\n'


def write_sweep(folder: Path, searched: dict[str, int] | None = None) -> Path:
    """Every construction on three reported seeds, with per-image results, and a few searched trials."""
    everything = dict.fromkeys(synthetic_results.PROFILES, 3)
    synthetic_results.sweep(folder, searched or {}, everything, data_hash="da7a", batch_size=50)
    (folder / "sweep.json").write_text(json.dumps(MANIFEST))
    return folder


def sweep_of(
    folder: Path, points: Sequence[tuple[str, dict[str, Any]]], *, seeds: int = 3, name: str = "grid",
    details: bool = True, **columns: Any,
) -> Sweep:  # fmt: skip
    """A sweep of grid points: construction and its own columns, on so many seeds."""
    rng = np.random.default_rng(3)
    for number, (construction, own) in enumerate(points):
        role = "reference" if construction == "deep" else "grid"
        for seed in range(seeds):
            made = {"role": role, "seed": seed, "data_hash": "da7a", **columns, **own}
            synthetic_results.finished(folder, f"{name}{number}-{seed}", construction, rng, details=details, **made)
    return Sweep(name, read_tables(folder))
