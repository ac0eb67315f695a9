"""Add a report to the run of its sweep: page, figures and summary as artifacts, and its answer as MLflow's note."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.storage.identity import NAME, read_identity
from sweeps.storage.store import Store
from sweeps.tracking.run_record import NOTE

FOLDER = "report"
"""Folder of the report among the artifacts of the sweep's run."""
NOTE_HASH = "note_hash"
"""Tag with the hash of the last note that was written here: one that a user changed differs, and stays."""


def report_files(page: Path) -> dict[Path, str]:
    """Files of a report that MLflow can show → folder among the artifacts."""
    figures = page.parent / "figures"
    shown = [page, figures / "summary.md"]
    return {path: FOLDER for path in shown if path.exists()} | dict.fromkeys(
        sorted(figures.glob("*.png")), f"{FOLDER}/figures"
    )


def log_report(store: Store, uri: str, page: Path, answer: str) -> str:
    """Put a report into MLflow, in place of an earlier one; return a line that says so, or why not.

    `answer` becomes the note of the experiment and of the sweep's run.
    """
    from sweeps.tracking.connection import tracking_error

    try:
        return _log_files(store, uri, report_files(page), answer)
    except Exception as error:  # MLflow, requests and SQLAlchemy have their own exception types
        return f"MLflow does not have this report: {tracking_error(uri, error)}"


def note_tags(text: str) -> dict[str, str]:
    """Tags of a note that a later one may replace, unless a user has changed it."""
    return {NOTE: text, NOTE_HASH: _hash_text(text)}


def _log_files(store: Store, uri: str, files: Mapping[Path, str], answer: str) -> str:
    from sweeps.tracking.sweep_run import find_sweep_run
    from sweeps.tracking.tracker import Tracker

    tracker = Tracker.find_experiment(uri, store.name)
    run, tags = find_sweep_run(tracker), tracker.read_tags()
    if run is None or tags.get(NAME) != read_identity(store):
        return f"MLflow does not have this report: run `launch.py sync {store.name}` first"
    for file, folder in files.items():
        tracker.client.log_artifact(run.info.run_id, str(file), folder)
    client, experiment = tracker.client, tracker.experiment
    _set_note(answer, tags, lambda name, value: client.set_experiment_tag(experiment, name, value))
    _set_note(answer, run.data.tags, lambda name, value: client.set_tag(run.info.run_id, name, value))
    return f"MLflow has this report too: {len(files)} files of run {run.info.run_id}, folder {FOLDER}"


def _set_note(text: str, tags: Mapping[str, str], set_tag: Callable[[str, str], object]) -> None:
    """Set a note that is missing, or that was written here before."""
    current = tags.get(NOTE)
    if text and text != current and (current is None or _hash_text(current) == tags.get(NOTE_HASH)):
        for name, value in note_tags(text).items():
            set_tag(name, value)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
