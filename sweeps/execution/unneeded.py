"""Find what a sweep's storage holds and no trial needs any more, and remove it: tables, leftovers, stages, weights."""

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path

from basin.errors import UsageError
from basin.files import read_object
from basin.lookup import is_key
from basin.trial import trial_of_names
from sweeps.execution.remeasuring import trial_of_row
from sweeps.storage.lock import locked_folder
from sweeps.storage.old_stages import find_old_stages, list_stages
from sweeps.storage.roles import REPORTED
from sweeps.storage.store import Store, open_store
from sweeps.tracking.garbage import find_superseded_tables, remove_superseded_tables


class Kind(StrEnum):
    """What can be removed, in the order of what is lost."""

    tables = "logged tables of superseded runs"
    leftovers = "checkpoints of finished trials"
    old_stages = "stages of older code"
    unused_stages = "stages that no sweep uses"
    weights = "weights of trials that were not chosen"
    chosen_weights = "weights of chosen trials"


@dataclass(frozen=True)
class Unneeded:
    """Files and folders of one kind."""

    kind: Kind
    paths: list[Path]
    size: int
    """Bytes."""
    trials: tuple[str, ...] = ()
    """Keys of the trials that could not be exported or measured again without training."""


def find_unneeded(storage: Path, name: str, uri: str) -> list[Unneeded]:
    """List what can be removed, kind by kind; changes nothing.

    Weights that belong to no finished trial of the sweep, and files that are not named by a key, are not listed.
    """
    store = open_store(storage, name)
    old = find_old_stages(storage / "runs")
    found = {
        Kind.tables: find_superseded_tables(store, uri),
        Kind.leftovers: _finished_scratch(store),
        Kind.old_stages: old,
        Kind.unused_stages: [path for path in find_unused_stages(storage) if path not in old],
    }
    listed = [Unneeded(kind, paths, _total_size(paths)) for kind, paths in found.items()]
    return [*listed, *_find_weights(store)]


def remove_unneeded(storage: Path, name: str, uri: str, kinds: Iterable[Kind]) -> list[Unneeded]:
    """Remove these kinds, and return what was removed.

    Raises UsageError if the sweep is running; for stages, which sweeps share, if any sweep of the storage is.
    """
    chosen, store = set(kinds), open_store(storage, name)
    shared = {Kind.old_stages, Kind.unused_stages} & chosen
    owners = [Store(manifest.parent) for manifest in sorted(storage.glob("*/sweep.json"))] if shared else [store]
    with ExitStack() as locks:
        for owner in owners:
            locks.enter_context(locked_folder(owner))
        found = [one for one in find_unneeded(storage, name, uri) if one.kind in chosen and one.paths]
        for one in found:
            if one.kind is not Kind.tables:
                _remove_paths(one.paths)
    if any(one.kind is Kind.tables for one in found):
        remove_superseded_tables(store, uri)
    return found


def find_unused_stages(storage: Path) -> list[Path]:
    """List the stages that no sweep of the storage uses; none of a dataset of which a sweep may still need some."""
    used: set[str] = set()
    open_data: set[str] = set()
    for manifest in sorted(storage.glob("*/sweep.json")):
        recipes = _used_recipes(Store(manifest.parent))
        if recipes is None:
            open_data.add(_data_hash(manifest, "base"))
        used |= recipes or set()
    stages = [path for path in list_stages(storage / "runs") if path.name not in used]
    if "" in open_data:
        return []
    return [path for path in stages if _data_hash(path / "recipe.json") not in {"", *open_data}]


def _used_recipes(store: Store) -> set[str] | None:
    """Recipe keys of a finished sweep's trials; None if it is unfinished, or if its rows cannot tell."""
    rows = store.rows()
    if not rows or not _is_finished(store) or len(rows) != len(store.keys()):
        return None
    try:
        return {trial_of_row(row, trial_of_names(row)).recipe_key for row in rows}
    except (UsageError, KeyError, TypeError, ValueError):  # rows of older code
        return None


def _is_finished(store: Store) -> bool:
    return bool(read_object(store.folder / "status.json").get("state") == "finished")


def _data_hash(file: Path, *parts: str) -> str:
    """Hash of the data that a recipe or a manifest names; empty if it names none."""
    return str(read_object(file, *parts).get("data_hash", ""))


def _finished_scratch(store: Store) -> list[Path]:
    folders = [store.folder / "scratch" / key for key in store.keys()]  # noqa: SIM118 (not a mapping)
    return [path for path in (*folders, store.folder / "tune") if path.is_dir()]


def _find_weights(store: Store) -> list[Unneeded]:
    """Weights of the trials that were not chosen, and of those that were, on any seed; all of an unfinished sweep."""
    rows, dropped = store.rows(("key", "ensemble_key", "role", "configuration")), _dropped_keys(store)
    finished = _is_finished(store)
    chosen = [row for row in rows if row["role"] in REPORTED and row["key"] not in dropped]
    configurations = {row["configuration"] for row in chosen} - {None, ""}
    kept, trials = {row["ensemble_key"] for row in chosen}, dict[str, list[str]]()
    for row in rows:
        trials.setdefault(row["ensemble_key"], []).append(row["key"])
        if row.get("configuration") in configurations or not finished:
            kept.add(row["ensemble_key"])
    return [
        _list_weights(store, Kind.weights, {name: keys for name, keys in trials.items() if name not in kept}),
        _list_weights(store, Kind.chosen_weights, {name: keys for name, keys in trials.items() if name in kept}),
    ]


def _list_weights(store: Store, kind: Kind, trials: dict[str, list[str]]) -> Unneeded:
    """Existing files of these ensembles, and the trials that measured them."""
    names = [name for name in sorted(trials) if is_key(name) and store.weights_path(name).exists()]
    paths = [store.weights_path(name) for name in names]
    return Unneeded(kind, paths, _total_size(paths), tuple(chain.from_iterable(trials[name] for name in names)))


def _dropped_keys(store: Store) -> set[str]:
    """Keys of the trials on fresh seeds whose configuration is no longer chosen."""
    entries = [one for one in read_object(store.folder / "verdicts.json").values() if isinstance(one, dict)]
    return set(chain.from_iterable(entry.get("keys", ()) for entry in entries if not entry.get("chosen", True)))


def _total_size(paths: Iterable[Path]) -> int:
    return sum(_size(path) for path in paths)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _remove_paths(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
