"""Find and remove tables among the artifacts of runs that no longer count; what users added to these runs stays."""

import shutil
from contextlib import suppress
from pathlib import Path

from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Store
from sweeps.tracking.connection import tracking_error
from sweeps.tracking.relocation import artifact_folder, local_path
from sweeps.tracking.sql import SUPERSEDED
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import NotLoggedError, sqlite_file


def find_superseded_tables(store: Store, uri: str) -> list[Path]:
    """List the logged tables of superseded and deleted runs in the sweep's folder; changes nothing.

    Artifacts that a server keeps are left to MLflow's own `mlflow gc`, and a sweep that was not logged has none.
    """
    file = sqlite_file(uri)
    if file is None or not file.exists():
        return []
    try:
        return _list_tables(Tracker.find_experiment(uri, store.name), artifact_folder(uri, store))
    except NotLoggedError:
        return []
    except Exception as error:
        raise tracking_error(uri, error) from error


def remove_superseded_tables(store: Store, uri: str) -> list[Path]:
    """Remove the logged tables of superseded and deleted runs from the sweep's folder; return the removed folders.

    Raises UsageError if the store does not answer, if the sweep is running, or if the experiment is another sweep's.
    """
    with locked_folder(store):
        try:
            tables = _list_tables(Tracker.open_experiment(uri, store), artifact_folder(uri, store))
        except Exception as error:
            raise tracking_error(uri, error) from error
        for folder in tables:
            _remove_folder(folder)
    return tables


def _list_tables(tracker: Tracker, root: Path | None) -> list[Path]:
    tables = []
    for run in tracker.list_runs(deleted=True):
        if SUPERSEDED not in run.data.tags and run.info.lifecycle_stage == "active":
            continue
        artifacts = local_path(run.info.artifact_uri)
        if root is not None and artifacts is not None and root in artifacts.parents:
            tables += [artifacts / "tables"] * (artifacts / "tables").is_dir()
    return tables


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    with suppress(OSError):  # not empty: it holds what a user added
        folder.parent.rmdir()
        folder.parent.parent.rmdir()
