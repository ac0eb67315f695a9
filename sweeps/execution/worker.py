"""Run a job in a Tune worker, and write the rows of its trial."""

import shutil
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune

from basin.environment import Place
from basin.errors import UsageError
from basin.interrupt import PreemptedError
from basin.journal import Progress
from basin.system_errors import describe_error
from basin.training.execution_mode import out_of_memory
from basin.training.loop import DivergedError
from basin.trial import Outcome, Trial, measure_kept, run
from sweeps.execution.preemption import preemption_deferred
from sweeps.execution.provenance import local_provenance
from sweeps.execution.retries import Attempts, deadline
from sweeps.storage.columns import is_score
from sweeps.storage.store import Row, Store, progress_columns, tables_of, tables_of_diverged
from sweeps.study.job import Job
from sweeps.study.study import Study


@dataclass(frozen=True)
class Worker:
    """Data that all trials of a sweep share; sent to the workers once."""

    study: Study
    store: Store
    place: Place
    facts: dict[str, str] = field(default_factory=dict)
    """Provenance columns: the launcher's, and those of a trial where it runs."""
    deadline: float | None = None
    """Seconds without progress after which the process of a trial is killed."""


def run_job(config: dict[str, Job], worker: Worker) -> None:
    """Run the trial of a job, unless the store has it; report validation scores to Tune.

    A UsageError is reported instead of raised: Tune would retry, and fail the same way.
    """
    job = config["job"]
    try:
        worker.place.remote.fetch(worker.store.table_path("trials", job.key), anew=True)
        row = worker.store.row(job.key)
        if row is None:
            worker = replace(worker, facts=local_provenance(worker.facts))
            with preemption_deferred():
                row = _attempt_job(worker, job)
        _drop_checkpoint(worker, job.key)
    except UsageError as problem:
        tune.report({"key": job.key, "status": "failed", "error": str(problem)})
        return
    facts = {"key": job.key, "status": row["status"], "members": row["members"], "progress": 1.0}
    tune.report(_validation_scores(row) | facts)


def _attempt_job(worker: Worker, job: Job) -> Row:
    scratch, remote = worker.store.scratch_path(job.key), worker.place.remote
    for name in ("state.safetensors", "journal.json"):  # the journal must never be older than the state
        remote.fetch(scratch / name, anew=True)
    attempts = Attempts(scratch, remote)
    try:
        attempts.begin_attempt()
    except OSError as error:
        raise UsageError(f"cannot write to {describe_error(error.errno, scratch)}") from error
    try:
        with deadline(worker.deadline, scratch):
            return _run_trial(worker, job)
    except (UsageError, PreemptedError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch raises a RuntimeError
            raise out_of_memory(error) from error
        attempts.record_error(error)
        raise


def _drop_checkpoint(worker: Worker, key: str) -> None:
    """Remove the checkpoint of a finished trial, whose own process may have been lost before it could."""
    shutil.rmtree(worker.store.scratch_path(key), ignore_errors=True)
    worker.place.remote.remove(worker.store.scratch_path(key))


def _run_trial(worker: Worker, job: Job) -> Row:
    trial, store = job.trial, worker.store
    facts = {"sweep": store.name, "role": job.role, "configuration": job.configuration, **worker.facts}
    classes: tuple[str, ...] = ()
    try:
        weights = store.weights_path(trial.ensemble_key)
        worker.place.remote.fetch(weights)
        outcome = measure_kept(trial, worker.place, weights) or _train_networks(worker, trial)
        tables, classes = tables_of(outcome, **facts), outcome.inputs.class_names
        tables["trials"][0] |= worker.study.verdict_columns(tables["trials"][0])
    except DivergedError:
        tables = tables_of_diverged(trial, **facts)
    store.write_tables(job.key, tables, classes)
    worker.place.remote.send(*store.trial_tables(job.key))
    return tables["trials"][0]


def _train_networks(worker: Worker, trial: Trial) -> Outcome:
    """Train and measure a trial; its networks are stored before its rows."""

    def report(progress: Progress) -> None:
        tune.report(_validation_scores(progress.scores) | {"key": trial.key, **progress_columns(progress)})

    outcome = run(trial, replace(worker.place, scratch=worker.store.scratch_path(trial.key)), report)
    worker.store.write_weights(outcome)
    worker.place.remote.send(worker.store.weights_path(trial.ensemble_key))
    return outcome


def _validation_scores(scores: dict[str, Any]) -> dict[str, float]:
    """Validation scores only: searcher and scheduler never see the test split."""
    return {n: value for n, value in scores.items() if n.startswith("val_") and is_score(n) and value is not None}
