"""Identity of a sweep: created once, kept in its manifest, copied and moved with its folder."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from basin.files import read_object, write_atomically
from sweeps.storage.store import Store

NAME = "identity"
"""Entry of the manifest, and tag of the sweep's experiment in MLflow."""


def new_identity() -> str:
    """Return an identity that no other sweep has."""
    return uuid4().hex


def read_identity(store: Store) -> str | None:
    """Return the identity of a sweep; None for a manifest of an older version, a damaged one, or none."""
    identity = read_object(_manifest(store)).get(NAME)
    return str(identity) if identity else None


def ensure_identity(store: Store, known: str | None = None) -> str | None:
    """Return the identity of a sweep; a manifest of an older version gets one, or the one that is known.

    None for a folder without a manifest.
    """
    manifest = read_object(_manifest(store))
    if manifest and not manifest.get(NAME):
        manifest[NAME] = known or new_identity()
        write_atomically(_manifest(store), json.dumps(manifest, indent=1, allow_nan=False))
    return manifest.get(NAME)


def note_reruns(store: Store, keys: Iterable[str]) -> list[Path]:
    """Record that the rows of these trials were lost, so that their runs in MLflow may be superseded by later ones.

    Return the written files.
    """
    file, lost = _reruns(store), set(keys)
    if not lost:
        return []
    write_atomically(
        file, json.dumps(read_object(file) | dict.fromkeys(sorted(lost), int(1000 * time.time())), allow_nan=False)
    )
    return [file]


def read_reruns(store: Store) -> dict[str, int]:
    """Key of each trial whose row was lost → when, in milliseconds since 1970."""
    return {str(key): int(when) for key, when in read_object(_reruns(store)).items()}


def _manifest(store: Store) -> Path:
    return store.folder / "sweep.json"


def _reruns(store: Store) -> Path:
    return store.folder / "reruns.json"
