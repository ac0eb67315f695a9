"""Remove leftovers of killed launchers and detect damaged result files.

Trials with damaged files count as unfinished and are rerun. Files are written atomically, but a power failure or a full
or failing disk can still damage them. A file is checked once, and again if its size or date has changed.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from basin.errors import UsageError
from basin.files import Remote, read_object, write_atomically
from basin.lookup import is_key
from basin.stages import read_tensors
from sweeps.storage.checksum import is_intact
from sweeps.storage.identity import note_reruns
from sweeps.storage.schemas import ALWAYS, SCHEMAS
from sweeps.storage.store import Store
from sweeps.storage.table_file import is_rewritten

STALE_AFTER = 3600.0
"""Age in seconds from which a temporary file in a shared folder counts as left behind."""

SHOWN = 3
"""Damaged files that an error names."""


def remove_leftovers(store: Store, runs: Path) -> None:
    """Remove temporary files of killed processes, checkpoints of finished trials, and Tune's folders."""
    shutil.rmtree(store.folder / "tune", ignore_errors=True)
    for key in store.keys():  # noqa: SIM118
        shutil.rmtree(store.folder / "scratch" / key, ignore_errors=True)
    folders = [store.folder, store.folder / "weights", *(store.folder / "tables" / table for table in SCHEMAS)]
    temporary: list[Path] = []
    for folder in folders:
        temporary += [path for path in folder.glob(".*.*") if path.is_file()]
    temporary += (store.folder / "scratch").glob("*/.*")
    now = time.time()
    with suppress(OSError):
        shared = [
            *runs.glob("*/member-*/.*"),
            *runs.glob("*/.recipe.json.*"),
            *store.folder.parent.glob(".mlflow.db.*"),
        ]
        temporary += [path for path in shared if now - path.stat().st_mtime > STALE_AFTER]
    for path in temporary:
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        (store.folder / "scratch").rmdir()


def remove_damaged_rows(store: Store) -> list[str]:
    """Remove the rows of trials with a damaged or missing file, and note that they are lost; return their keys."""
    damaged = sorted(find_damage(store))
    note_reruns(store, damaged)
    for key in damaged:
        store.table_path("trials", key).unlink(missing_ok=True)
    return damaged


def restore_files(store: Store, remote: Remote) -> None:
    """Download damaged and missing files again: a damaged local copy says nothing about the one in an object store."""
    for names in find_damage(store).values():
        for name in names:
            remote.fetch(store.folder / name, anew=True)


def check_files(store: Store) -> None:
    """Raise UsageError if a file of a finished trial is damaged or missing."""
    damage = find_damage(store)
    if damage:
        named = [name for key in sorted(damage) for name in damage[key]]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        raise UsageError(
            f"{store.folder}: {len(damage)} trials have damaged, changed or missing files "
            f"({', '.join(named[:SHOWN])}{more}): "
            "rerun the command that started the sweep, which runs these trials again"
        )


def find_damage(store: Store) -> dict[str, list[str]]:
    """Key of each finished trial with a damaged or missing file → the names of these files in the sweep's folder."""
    finished = store.keys()
    if not finished:
        return {}
    notes = store.folder / "compact" / "checked.json"
    current, known = dict(_file_stamps(store.folder)), read_object(notes)
    unchecked = [name for name, stamp in current.items() if known.get(name) != stamp]
    with ThreadPoolExecutor() as pool:
        sound = dict(zip(unchecked, pool.map(lambda name: _is_sound(store.folder / name), unchecked), strict=True))
    torn = [name for name in unchecked if not sound[name]]
    damage: dict[str, list[str]] = {}
    for name in torn:
        damage.setdefault(Path(name).stem, []).append(name)
    if any(name.startswith("weights/") for name in torn):  # named by ensemble, not by trial
        for row in store.rows(("key", "ensemble_key")):
            if row["ensemble_key"] in damage:
                damage.setdefault(row["key"], []).extend(damage[row["ensemble_key"]])
    # The user may delete weights to free space; tables may not be missing.
    for key in finished:
        needed = [f"tables/{table}/{key}.parquet" for table in ALWAYS]
        if missing := [name for name in needed if name not in current]:
            damage.setdefault(key, []).extend(missing)
    if unchecked or damage:
        kept = {name: stamp for name, stamp in current.items() if Path(name).stem not in damage}
        with suppress(OSError):  # then the files are checked again
            write_atomically(notes, json.dumps(kept, allow_nan=False))
    return {key: damage[key] for key in finished if key in damage}


def _file_stamps(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Each file of tables and weights with its size in bytes and its modification time in nanoseconds."""
    for part in (*(f"tables/{table}" for table in SCHEMAS), "weights"):
        if not (folder / part).is_dir():
            continue
        with os.scandir(folder / part) as entries:
            for entry in entries:
                if is_key(entry.name.partition(".")[0]) and entry.name.endswith((".parquet", ".safetensors")):
                    stat = entry.stat()
                    yield f"{part}/{entry.name}", [stat.st_size, stat.st_mtime_ns]


def _is_sound(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return read_tensors(path) is not None
    try:
        content = path.read_bytes()
        pyarrow.parquet.read_metadata(pa.BufferReader(content))
    except (OSError, pa.ArrowException):
        return False
    return is_intact(content) and not is_rewritten(path, content)
