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
    there, held = mirror.files(mirror.folder), store.folder / "sweep.json"
    if held not in there:
        names = sorted(path.parent.name for path in there if path.name == held.name)
        raise UsageError(f"no sweep {name!r} in {uri}: expected one of {', '.join(names) or '(none yet)'}")
    before = _definition(held)
    with locked(store):
        mirror.fetch(held, anew=True)
        if before not in ({}, _definition(held)):
            raise UsageError(f"--to {to}: expected no other sweep named {name!r} there; give another folder")
        mirror.fetch(store.journal, anew=True)
        for part in PARTS:
            mirror.pull(store.folder / part)
    return store


def _definition(held: Path) -> dict[str, Any]:
    """What a sweep is, but for its trials, which may become more; nothing if there is no sweep."""
    try:
        known = dict(json.loads(held.read_text()))
    except OSError:
        return {}
    return {name: value for name, value in known.items() if name != "owed"}
