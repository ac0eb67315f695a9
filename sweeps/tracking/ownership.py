"""Ownership of MLflow experiments and runs: a sweep never writes to the experiment of another sweep."""

from collections.abc import Mapping, Sequence

from basin.errors import UsageError
from sweeps.storage.address import is_database, show_address
from sweeps.storage.identity import NAME, ensure_identity, read_reruns
from sweeps.storage.store import Row, Store
from sweeps.tracking.run_record import CONTENT, row_content, trial_times
from sweeps.tracking.sql import Database, LoggedRun
from sweeps.tracking.uri import sqlite_file

Runs = Mapping[str, Sequence[LoggedRun]]
"""Trial key → its runs that are neither deleted nor superseded, oldest first."""


class OwnerError(UsageError):
    """An experiment, or the run of a trial, that belongs to another sweep."""


def check_experiment(store: Store, uri: str, tags: Mapping[str, str], runs: Runs) -> None:
    """Raise OwnerError if an experiment belongs to another sweep of this name.

    An experiment or a folder of an older version has no identity. It is taken for this sweep's if it has no trials, or
    if at least one of its runs was written from a row of this folder.
    """
    identity, logged = ensure_identity(store), tags.get(NAME)
    if identity == logged and identity:
        return
    if not (identity and logged) and (not runs or _any_agrees(store, runs)):
        return
    raise OwnerError(
        f"--tracking-uri {show_address(uri)}: the experiment {store.name!r} belongs to a sweep in another folder "
        f"({NAME} {_shorten(logged)}, here {_shorten(identity)}): give another --name or --tracking-uri, "
        "or --adopt to continue it from this folder"
    )


def check_database(store: Store, uri: str) -> None:
    """Raise OwnerError for a database whose experiment belongs to another sweep; does not import MLflow."""
    file = sqlite_file(uri)
    if not is_database(uri) or (file and not file.exists()):
        return
    database = Database(uri)
    experiment = database.list_experiments(deleted=True).get(store.name)
    if experiment is not None:
        check_experiment(store, uri, database.experiment_tags(experiment), database.runs_by_key(experiment))


def check_runs(store: Store, row: Row, runs: Sequence[LoggedRun]) -> None:
    """Raise OwnerError if a complete run of a trial has other contents than its row.

    A trial whose row this folder has lost, and which therefore ran again, is allowed to differ.
    """
    lost = read_reruns(store).get(row["key"], 0)
    for run in runs:
        if run.is_complete and not agrees(row, run) and run.start >= lost:
            raise OwnerError(
                f"trial {row['key']} has other results in MLflow (run {run.run_id}) than in {store.folder}: "
                "another copy of this sweep ran it, or its row was changed; restore the row, "
                "or give --adopt to replace the run by this row"
            )


def agrees(row: Row, run: LoggedRun) -> bool:
    """Tell whether a run was written from this row; runs of older versions are recognised by the start of the trial."""
    return run.content == row_content(row) if run.content else run.start == trial_times(row)[0]


def _any_agrees(store: Store, runs: Runs) -> bool:
    rows = {row["key"]: row for row in store.rows(CONTENT)}
    return any(key in rows and any(agrees(rows[key], run) for run in runs[key]) for key in runs)


def _shorten(identity: str | None) -> str:
    return identity[:8] if identity else "unknown"
