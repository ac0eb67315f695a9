"""What launchers that were killed left behind, and finished trials whose files are not as they were written.

Such trials count as not finished, and are run again.

Files are written whole or not at all, but a machine that loses its power, a full or a failing disk may leave less. A
file is looked at once, and again when its size or its date has changed.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from basin.errors import UsageError
from basin.files import write_atomically
from basin.runs import read
from sweeps.schemas import ALWAYS, SCHEMAS
from sweeps.sealing import intact
from sweeps.store import Store

LIVING = 3600.0
"""Seconds after which a file that is being written, in a folder that other sweeps share, is nobody's."""

FULL = os.strerror(errno.ENOSPC)

Stamps = dict[str, list[int]]
"""File in the sweep's folder → bytes, and time of change in nanoseconds."""


def tidy(store: Store, runs: Path) -> None:
    """Remove what killed processes left: files half written, checkpoints of finished trials, Tune's folders."""
    shutil.rmtree(store.folder / "tune", ignore_errors=True)
    for key in store.keys():  # noqa: SIM118
        shutil.rmtree(store.folder / "scratch" / key, ignore_errors=True)
    folders = [store.folder, store.folder / "weights", *(store.folder / "tables" / table for table in SCHEMAS)]
    halves = [path for folder in folders for path in folder.glob(".*.*") if path.is_file()]
    halves += (store.folder / "scratch").glob("*/.*")
    now = time.time()
    with suppress(OSError):
        shared = [*runs.glob("*/member-*/.*"), *store.folder.parent.glob(".mlflow.db.*")]
        halves += [path for path in shared if now - path.stat().st_mtime > LIVING]
    for path in halves:
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        (store.folder / "scratch").rmdir()


def mend(store: Store) -> list[str]:
    """Take back the rows of trials with a damaged or missing file; return their keys."""
    finished = store.keys()
    if not finished:
        return []
    notes = store.folder / "compact" / "checked.json"
    there, known = dict(_stamps(store.folder)), _known(notes)
    fresh = [name for name, stamp in there.items() if known.get(name) != stamp]
    with ThreadPoolExecutor() as pool:
        sound = dict(zip(fresh, pool.map(lambda name: _sound(store.folder / name), fresh), strict=True))
    bad = {Path(name).stem for name in fresh if not sound[name]}
    # Weights may be deleted to make room; tables that belong together may not be.
    bad |= {key for key in finished if any(f"tables/{table}/{key}.parquet" not in there for table in ALWAYS)}
    for key in bad:
        store.path("trials", key).unlink(missing_ok=True)
    if fresh or bad:
        kept = {name: stamp for name, stamp in there.items() if Path(name).stem not in bad}
        with suppress(OSError):  # then they are looked at again
            write_atomically(notes, json.dumps(kept))
    return sorted(bad & set(finished))


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Raise UsageError where storage is full, whoever met its end: Tune and Optuna write there too."""
    try:
        yield
    except Exception as error:
        if any(FULL in str(cause) for cause in _causes(error)):
            raise UsageError(f"{folder}: {FULL}; make room there and run the same command again") from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()  # an error that is raised again from what it caused is a cause of itself
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _stamps(folder: Path) -> Iterator[tuple[str, list[int]]]:
    for part in (*(f"tables/{table}" for table in SCHEMAS), "weights"):
        if not (folder / part).is_dir():
            continue
        with os.scandir(folder / part) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    stat = entry.stat()
                    yield f"{part}/{entry.name}", [stat.st_size, stat.st_mtime_ns]


def _known(notes: Path) -> Stamps:
    try:
        return dict(json.loads(notes.read_text()))
    except (OSError, ValueError):
        return {}


def _sound(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return read(path) is not None
    try:
        content = path.read_bytes()
        pyarrow.parquet.read_metadata(pa.BufferReader(content))
    except (OSError, pa.ArrowException):
        return False
    return intact(content)
