"""A finished or running sweep of an object store, copied into a folder that every command reads."""

import json
from pathlib import Path
from typing import Any

from basin.errors import UsageError
from sweeps.lock import locked
from sweeps.mirror import Mirror
from sweeps.store import Store

PARTS = ("weights", "tables")


def fetch(uri: str, name: str, to: Path) -> Store:
    """Bring what is new of a sweep; raises UsageError if there is none, or if another of this name is in the folder.

    Checkpoints and single runs stay where they are.
    """
    mirror, store = Mirror.of(uri).at(to), Store(to.resolve() / name)
    held = store.folder / "sweep.json"
    there = mirror.read(held)
    if there is None:
        names = ", ".join(other for other in mirror.folders() if other != "runs")
        raise UsageError(f"no sweep {name!r} in {uri}: expected one of {names or '(none yet)'}")
    if held.exists() and _definition(held.read_bytes()) != _definition(there):
        raise UsageError(f"--to {to}: expected no other sweep named {name!r} there; give another folder")
    with locked(store):
        for path in (held, store.journal):
            mirror.fetch(path, anew=True)
        for part in PARTS:
            mirror.pull(store.folder / part)
    return store


def _definition(held: bytes) -> dict[str, Any]:
    """What a sweep is, but for its trials, which may become more."""
    return {name: value for name, value in json.loads(held).items() if name != "owed"}
