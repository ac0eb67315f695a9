"""The sweep of docs/gallery without its grid, and with trials that a careless query would mix in."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from sweeps.storage.store import Row, Store
from tests.support import gallery
from tests.support.tiny_sweep import launch, put, works

REPLICATES = 2
DIVERGED = "d" * 16
"""Key of the diverged trial."""


def make_logged(folder: Path) -> None:
    """Write `results/quickstart` below a folder: tables, configurations, report, and runs in MLflow."""
    folder.mkdir()
    gallery.unpack(folder)
    store = Store(folder / "results" / "quickstart")
    store.folder.parent.mkdir()
    (folder / "gallery").rename(store.folder)
    verdicts = _without_grid(store)
    _add_others(store, verdicts)
    (store.folder / "verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
    storage = ("--storage", str(store.folder.parent))
    works(launch("sync", "quickstart", *storage))
    works(launch("report", "quickstart", *storage))


def _without_grid(store: Store) -> dict[str, Any]:
    """Remove the trials of the grid and return the verdicts of the others."""
    for row in store.rows():
        if row["role"] == "grid":
            for file in store.trial_tables(row["key"]):
                file.unlink()
    verdicts = json.loads((store.folder / "verdicts.json").read_text(encoding="utf-8"))
    return {keys: entry for keys, entry in verdicts.items() if entry["role"] != "grid"}


def _add_others(store: Store, verdicts: dict[str, Any]) -> None:
    """Add replicates of a searched configuration, a diverged reference, and a fresh trial no longer chosen."""
    rows = store.rows()
    searched = min((row for row in rows if row["role"] == "search" and row["feasible"]), key=lambda row: row["val_nll"])
    for seed in range(101, 101 + REPLICATES):
        worse = {"val_nll": searched["val_nll"] + 0.01 * seed, "val_accuracy": searched["val_accuracy"] - 1}
        put(store, _renamed(searched, f"{seed:016x}", role="replicate", seed=seed, **worse))
    lost = next(row for row in rows if row["construction"] == "swe")
    scores = {name: None for name in lost if name.startswith(("val_", "test_")) and not name.endswith("_size")}
    put(store, _renamed(lost, DIVERGED, seed=9, status="diverged", **scores))
    for entry in verdicts.values():
        entry["lost"] += entry["construction"] == "swe"
    fresh = next(row for row in rows if row["role"] == "fresh")
    early = _renamed(fresh, "e" * 16, configuration="e" * 16, beta=0.5, test_accuracy=10.0, test_nll=0.001)
    put(store, early)
    verdicts[early["key"]] = {
        **{"keys": [early["key"]], "trials": [early["key"]], "seeds": [early["seed"]], "version": 2, "lost": 0},
        **{"configuration": early["configuration"], "construction": early["construction"], "role": "fresh"},
        **{"chosen": False, "margin": 2.0, "val": None, "test": None, "scores": None},
    }


def _renamed(row: Row, key: str, **changes: Any) -> Row:
    return {**row, "key": key, "finished_at": row["finished_at"] + timedelta(seconds=1), **changes}
