"""Update artifact paths of a moved or copied storage folder: MLflow records absolute paths, and writes to old ones."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sweeps.storage.store import Store
from sweeps.tracking.uri import sqlite_file


def artifact_folder(uri: str, store: Store) -> Path | None:
    """Return the folder of the artifacts of a sweep that is tracked in a SQLite file; None for any other store."""
    return (store.folder / "mlartifacts").resolve() if sqlite_file(uri) else None


def relocate_artifacts(uri: str, experiment: str, location: str, store: Store) -> None:
    """Make an experiment in a SQLite file keep its artifacts where its sweep's folder is now.

    If the file does not lie beside the folder and the old place still exists, the folder is a copy: runs keep their
    artifacts there, and new ones go beside the file.
    """
    file, wanted, old = sqlite_file(uri), artifact_folder(uri, store), local_path(location)
    if file is None or wanted is None or old is None:
        return
    shared = file.resolve().parent / "mlartifacts" / store.name
    if old in (wanted, shared):
        return
    moved = file.resolve().parent == store.folder.resolve().parent or not old.exists()
    new = (wanted if moved else shared).as_uri()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment))
        if moved:
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (f"{new}/", len(location) + 2, experiment, len(location) + 1, f"{location}/"),
            )


def local_path(location: str) -> Path | None:
    """Folder of an artifact location; None if it is not on this machine."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else location)
