"""Readable names of runs: the construction, the hyperparameters that tell trials of the sweep apart, and the seed."""

from collections.abc import Mapping
from typing import Any

from sweeps.storage.columns import distinguishing_names
from sweeps.storage.store import Row
from sweeps.study.manifest import VARIED

SYMBOLS = {"beta": "β", "temperature": "τ", "weight": "λ"}
"""Hyperparameter → its symbol in the formulas; the others are written out."""


def run_name(row: Row, manifest: Mapping[str, Any]) -> str:
    """Name the run of a trial from its row, or its settings, and the manifest of its sweep.

    Manifests of older versions say what is searched, and not what differs in a grid.
    """
    searched = set(manifest.get("searched", ())) - set(manifest.get("fixed", {}))
    told = searched.union(manifest.get(VARIED, ()))
    names = [name for name in ("model", *distinguishing_names()) if name in told and row.get(name) is not None]
    values = [f"{SYMBOLS.get(name, name)}={_format_value(row[name])}" for name in names]
    return f"{' '.join([row['construction'], *values])} · seed {row['seed']}"


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
