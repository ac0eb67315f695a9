"""Cache of decoded images: decoded once, then memory-mapped by every process of a machine.

Several users may share it: each reads what the others have written, and nobody replaces another user's folder.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from basin.data.archives import walk_files
from basin.data.dataset import Account, Arrays, Dataset, content_hash
from basin.errors import UsageError
from basin.spec import canonical_text, describe_fields

LAYOUT = 2
"""Part of every folder's name: raise it when decoding changes, and old folders are no longer found."""

_seen: set[tuple[tuple[Path, int, int], ...]] = set()
"""Files whose content this process has compared with its hash."""


def load_arrays(dataset: Dataset, *, source: Path | None = None, cache: Path) -> tuple[Arrays, str]:
    """The arrays of a dataset, mapped from `cache/<name>-<identity>/`, and the hash of their content.

    Decodes first if they are not there, or are damaged; of several processes one decodes, the others wait for it.
    Raises UsageError if that cannot be done.
    """
    from basin.data import datasets

    name = datasets.name(dataset)
    if source is not None and not source.exists():
        raise UsageError(f"no file or folder {source}: expected the images of dataset {name}")
    folder = cache / f"{name}-{source_identity(dataset, source)}"
    arrays = _open_shared(folder)
    if arrays is None:
        with _temporary_folder(cache) as temporary, _exclusive_lock(folder):
            arrays = _open_shared(folder) or _decode_into_cache(dataset, source, temporary, folder)
    return arrays, arrays.hash


def _open_shared(folder: Path) -> Arrays | None:
    """The arrays of the shared folder, or of this user's own beside it."""
    return _open_folder(folder) or _open_folder(_own_folder(folder))


def _own_folder(folder: Path) -> Path:
    """Folder of this user's own arrays, for when another user's folder is damaged or cannot be read."""
    return folder.with_name(f"{folder.name}-user{os.getuid()}")


def _decode_into_cache(dataset: Dataset, source: Path | None, temporary: Path, folder: Path) -> Arrays:
    try:
        decoded = dataset.decode(source, folder.parent / "download")
        _write_arrays(decoded, temporary, source)
    except OSError as error:
        raise _unwritable_error(folder.parent, error) from None
    except MemoryError:
        raise UsageError(f"out of memory while decoding {source}: use a machine with more, or fewer images") from None
    return _publish_folder(temporary, folder) or _publish_folder(temporary, _own_folder(folder)) or decoded


def source_identity(dataset: Dataset, source: Path | None) -> str:
    """16-digit hash of the dataset's fields and of the source's path, file sizes and modification times."""
    values = {field.name: getattr(dataset, field.name) for field in describe_fields(type(dataset))}
    where = None if source is None else source.resolve()
    digest = hashlib.sha256(f"{LAYOUT}{canonical_text(values)}{where}".encode(errors="surrogateescape"))
    try:
        for path in () if where is None else walk_files(where):
            stat = path.stat()
            # The time of the last change of status too: programs set the other, as to that in an archive.
            facts = f"{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
            digest.update(f"\n{path}\0{facts}".encode(errors="surrogateescape"))
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    return digest.hexdigest()[:16]


def _open_folder(folder: Path) -> Arrays | None:
    """The arrays of a complete folder; None if anything is missing or does not fit the rest."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        # Copy on write: nobody writes, and torch does not warn of a read-only array.
        parts = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in meta["shapes"]}
        if any(list(parts[name].shape) != shape for name, shape in meta["shapes"].items()):
            return None
        arrays = Arrays(
            **parts, classes=tuple(meta["classes"]), hash=meta["hash"], account=_read_account(meta["account"])
        )
        return arrays if _is_intact(folder, arrays) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _read_account(meta: dict[str, Any]) -> Account:
    passed = tuple((why, count, first) for why, count, first in meta["passed"])
    return Account(meta["layout"], meta["kinds"], passed, tuple(meta["notes"]))


def _is_intact(folder: Path, arrays: Arrays) -> bool:
    """Compare the images with their hash; a process checks files once, unless they change."""
    files = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir()))
    if files not in _seen:
        if content_hash(*arrays.parts().values()) != arrays.hash:
            return False
        _seen.add(files)
    return True


def _write_arrays(arrays: Arrays, folder: Path, source: Path | None) -> None:
    shapes = {}
    for name, array in arrays.parts().items():
        np.save(folder / f"{name}.npy", array)
        shapes[name] = array.shape
    meta = {
        "hash": arrays.hash,
        "classes": arrays.classes,
        "shapes": shapes,
        "account": asdict(arrays.account),
        "source": "official or built in" if source is None else str(source.resolve()),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, allow_nan=False))


def _publish_folder(temporary: Path, folder: Path) -> Arrays | None:
    """Move a finished folder into place, unless another process was faster; None if that is not possible."""
    with contextlib.suppress(OSError):
        if folder.exists() and _open_folder(folder) is None and folder.stat().st_uid == os.getuid():
            # Renamed out of the way first: no process sees a folder that is half removed.
            shutil.rmtree(folder.rename(temporary.with_name(f"{temporary.name}-damaged")), ignore_errors=True)
        temporary.rename(folder)
    return _open_folder(folder)


@contextlib.contextmanager
def _temporary_folder(cache: Path) -> Iterator[Path]:
    """Create a temporary folder and remove it afterwards. Raises UsageError if the cache is not writable."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".decoding-", dir=cache))
        arrays = temporary / "arrays"
        arrays.mkdir()  # with the permissions that the umask leaves, so that other users can read it
    except OSError as error:
        raise _unwritable_error(cache, error) from None
    try:
        yield arrays
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process writes this folder; a process that arrives while the lock is removed decodes too."""
    path = folder.with_name(f".{folder.name}.lock")
    with contextlib.ExitStack() as stack:
        # A file system without locks, or the lock of a user who lets nobody read it: all decode, one is published.
        with contextlib.suppress(OSError):
            handle = _open_lock(path)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # another user's, in a folder where only owners remove
                path.unlink(missing_ok=True)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    except PermissionError:  # Linux protects others' files in sticky folders from being opened to create
        return os.open(path, os.O_RDONLY)


def _unwritable_error(cache: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write decoded images to the cache folder {cache}: {error.strerror or error}")
