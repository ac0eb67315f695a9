"""Download a finished or running sweep from an object store into a local folder."""

import json
from pathlib import Path
from typing import Any

from basin.errors import UsageError
from sweeps.storage.address import show_address
from sweeps.storage.compact import compact_path
from sweeps.storage.identity import NAME, ensure_identity, read_identity
from sweeps.storage.journal_parts import download_journal
from sweeps.storage.lock import locked_folder
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store, superseded_keys

PARTS = ("weights", "tables", "earlier")


def download_sweep(uri: str, name: str, to: Path) -> Store:
    """Download what is new of a sweep; raises UsageError if it does not exist, or if the folder holds another one.

    Checkpoints and stages are not downloaded.
    """
    mirror, store = Mirror.from_uri(uri).with_folder(to), Store(to.resolve() / name)
    manifest = store.folder / "sweep.json"
    remote_manifest = mirror.read_file(manifest)
    if remote_manifest is None:
        names = ", ".join(other for other in mirror.list_folders() if other != "runs")
        raise UsageError(f"no sweep {name!r} in {show_address(uri)}: expected one of {names or '(none yet)'}")
    identity = read_identity(store)
    theirs = json.loads(remote_manifest).get(NAME)
    same = identity == theirs or not (identity and theirs)
    if manifest.exists() and not (same and _fixed_settings(manifest.read_bytes()) == _fixed_settings(remote_manifest)):
        raise UsageError(f"--to {to}: the folder holds another sweep named {name!r}; give another folder")
    with locked_folder(store):
        for path in (manifest, store.folder / "verdicts.json"):
            mirror.fetch(path, anew=True)
        download_journal(mirror, store.journal)
        ensure_identity(store, identity)  # a manifest of an older version has none
        compact = compact_path(store.folder)
        if compact in mirror.list_files(compact.parent):
            mirror.fetch(compact, anew=True)
        for part in PARTS:
            mirror.pull_folder(store.folder / part)
        for key in superseded_keys(store):
            for path in store.trial_tables(key):
                path.unlink()
    return store


def _fixed_settings(manifest: bytes) -> dict[str, Any]:
    """Settings of a manifest that cannot change: trials may be added, and measured again."""
    return {name: value for name, value in json.loads(manifest).items() if name not in ("owed", "versions", NAME)}
