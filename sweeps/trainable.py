"""What a Tune worker does: a configuration becomes a trial, the trial rows of the ledger."""

import shutil
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune

from basin.journal import Progress
from basin.place import Place
from basin.training import DivergedError
from basin.trial import Outcome, run
from sweeps.schemas import is_score
from sweeps.store import Row, Store, tables_of, tables_of_diverged
from sweeps.study import Study


@dataclass(frozen=True)
class Worker:
    """What every trial of a sweep shares; travels to the workers once."""

    study: Study
    store: Store
    place: Place
    facts: dict[str, str] = field(default_factory=dict)
    """Provenance columns of the sweep."""


def trainable(config: dict[str, Any], worker: Worker) -> None:
    """Run the trial of a configuration, unless the store has it; report validation scores to Tune."""
    trial = worker.study.trial(config["changes"])
    row = worker.store.row(trial.key)
    if row is None:
        row = _run(worker, trial.key, config)
    tune.report(_seen_by_search(row) | {"key": trial.key, "status": row["status"], "progress": 1.0})


def _run(worker: Worker, key: str, config: dict[str, Any]) -> Row:
    trial = worker.study.trial(config["changes"])
    scratch = worker.store.folder / "scratch" / key
    facts = {"sweep": worker.store.name, "role": config["role"], **worker.facts}
    try:
        for item in run(trial, replace(worker.place, scratch=scratch)):
            if isinstance(item, Progress):
                tune.report(_seen_by_search(item.scores) | {"key": key, "passes": item.passes})
        assert isinstance(item, Outcome), "a trial ends with its outcome"
        worker.store.write_weights(key, item)
        tables = tables_of(item, **facts)
    except DivergedError:
        tables = tables_of_diverged(trial, **facts)
    worker.store.write(key, tables)
    shutil.rmtree(scratch, ignore_errors=True)
    return tables["trials"][0]


def _seen_by_search(scores: dict[str, Any]) -> dict[str, float]:
    """Validation numbers only: the test split is never shown to a searcher or scheduler."""
    return {n: value for n, value in scores.items() if n.startswith("val_") and is_score(n) and value is not None}
