"""What a Tune worker does: a configuration becomes a trial, the trial rows of the ledger."""

import shutil
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune

from basin.engine import out_of_memory
from basin.errors import UsageError
from basin.interrupt import PreemptedError
from basin.journal import Progress
from basin.place import Place
from basin.training import DivergedError
from basin.trial import Outcome, run
from sweeps.attempts import Attempts, deadline
from sweeps.preemption import busy
from sweeps.provenance import same_environment
from sweeps.schemas import is_score
from sweeps.store import Row, Store, so_far, tables_of, tables_of_diverged
from sweeps.study import Study


@dataclass(frozen=True)
class Worker:
    """What every trial of a sweep shares; travels to the workers once."""

    study: Study
    store: Store
    place: Place
    facts: dict[str, str] = field(default_factory=dict)
    """Provenance columns of the sweep."""
    deadline: float | None = None
    """Seconds without a sign of life after which a trial's process is ended."""


def trainable(config: dict[str, Any], worker: Worker) -> None:
    """Run the trial of a configuration, unless the store has it; report validation scores to Tune.

    An error that another try would meet again is reported, for what is raised here is tried again.
    """
    trial = worker.study.trial(config["changes"])
    try:
        worker.place.remote.fetch(worker.store.path("trials", trial.key), anew=True)
        row = worker.store.row(trial.key)
        if row is None:
            same_environment(worker.facts)
            with busy():
                row = _try(worker, trial.key, config)
        _forget(worker, trial.key)
    except UsageError as problem:
        tune.report({"key": trial.key, "status": "failed", "error": str(problem)})
        return
    tune.report(_seen_by_search(row) | {"key": trial.key, "status": row["status"], "progress": 1.0})


def _try(worker: Worker, key: str, config: dict[str, Any]) -> Row:
    scratch, remote = worker.store.scratch(key), worker.place.remote
    for name in ("state.safetensors", "journal.json"):  # the journal may be the newer of the two, never the older
        remote.fetch(scratch / name, anew=True)
    attempts = Attempts(scratch, remote)
    try:
        attempts.begin()
    except OSError as error:
        raise UsageError(f"cannot write to {scratch}: {error.strerror}; make room there") from error
    try:
        with deadline(worker.deadline, scratch):
            return _run(worker, key, config)
    except (UsageError, PreemptedError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch raises a RuntimeError
            raise out_of_memory(error) from error
        attempts.failed(error)
        raise


def _forget(worker: Worker, key: str) -> None:
    """Drop the checkpoint of a finished trial, perhaps of one whose process was lost before it could."""
    shutil.rmtree(worker.store.scratch(key), ignore_errors=True)
    worker.place.remote.remove(worker.store.scratch(key))


def _run(worker: Worker, key: str, config: dict[str, Any]) -> Row:
    trial = worker.study.trial(config["changes"])
    scratch = worker.store.scratch(key)
    facts = {"sweep": worker.store.name, "role": config["role"], **worker.facts}
    try:
        for item in run(trial, replace(worker.place, scratch=scratch)):
            if isinstance(item, Progress):
                tune.report(_seen_by_search(item.scores) | {"key": key, **so_far(item)})
        assert isinstance(item, Outcome), "a trial ends with its outcome"
        worker.store.write_weights(key, item)
        tables = tables_of(item, **facts)
        tables["trials"][0]["feasible"] = worker.study.feasible(tables["trials"][0])
    except DivergedError:
        tables = tables_of_diverged(trial, **facts)
    worker.store.write(key, tables)
    worker.place.remote.send(*worker.store.files(key))
    return tables["trials"][0]


def _seen_by_search(scores: dict[str, Any]) -> dict[str, float]:
    """Validation numbers only: the test split is never shown to a searcher or scheduler."""
    return {n: value for n, value in scores.items() if n.startswith("val_") and is_score(n) and value is not None}
