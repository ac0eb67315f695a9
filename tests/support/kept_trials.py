"""Folders of a sweep with trials that were run here, without Ray, as a worker leaves them."""

import json
from pathlib import Path
from typing import Any

from basin.provenance import collect_provenance
from basin.trial import Outcome, Trial, identify_data, run
from sweeps.storage.store import Store, tables_of
from sweeps.study.objectives import seed_verdict
from tests.support.tiny_trial import place, trial


def keep_trial(store: Store, trial: Trial, cache: Path, **columns: Any) -> Outcome:
    """Run a trial and write its networks and tables into the sweep's folder."""
    where = place(store.folder.parent / "runs", cache)
    outcome = run(identify_data(trial, where), where)
    facts = {"sweep": store.name, "role": "reference", "configuration": "0" * 16, **collect_provenance(), **columns}
    tables = tables_of(outcome, **facts)
    row = tables["trials"][0]
    row |= {"margin": 2.0, **{f"verdict_{split}": seed_verdict(row, split, 2.0) for split in ("val", "test")}}
    store.write_weights(outcome)
    store.write_tables(outcome.trial.key, tables, outcome.inputs.class_names)
    return outcome


def make_sweep(folder: Path, cache: Path) -> Store:
    """A sweep of two trials: constrained residual networks, and a distilled ensemble without its networks."""
    store = Store(folder / "mine")
    networks = {"model": "resnet8", "width": 0.25, "batch_size": 10}
    keep_trial(store, trial(construction="constrained", t=0.4, members=3, **networks), cache)
    lost = keep_trial(store, trial(construction="distilled", t=0.2), cache).trial
    store.weights_path(lost.ensemble_key).unlink()
    manifest = {"base": trial().flat(), "defaults": {"constrained.t": 0.1, "constrained.beta": 1.0}}
    (store.folder / "sweep.json").write_text(json.dumps(manifest))
    return store


def key_of(store: Store, construction: str) -> str:
    """Key of the only trial of a construction."""
    (key,) = [row["key"] for row in store.rows() if row["construction"] == construction]
    return str(key)
