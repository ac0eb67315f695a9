"""Images decoded once, then mapped: every process of a machine shares one copy."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from basin.data.archives import files
from basin.data.dataset import Arrays, Dataset, content
from basin.errors import UsageError
from basin.spec import canonical, describe

LAYOUT = 1
"""Part of every folder's name: raise it when decoding changes, and old folders are no longer found."""

_seen: set[tuple[tuple[Path, int, int], ...]] = set()
"""Files whose content this process has compared with its hash."""


def load(dataset: Dataset, *, source: Path | None = None, cache: Path) -> tuple[Arrays, str]:
    """The arrays of a dataset, mapped from `cache/<name>-<identity>/`, and the hash of their content.

    Decodes first if they are not there, or are damaged; of several processes one decodes, the others wait for it.
    Raises UsageError if that cannot be done.
    """
    from basin.data import datasets

    name = datasets.name(dataset)
    if source is not None and not source.exists():
        raise UsageError(f"no file or folder {source}: expected the images of dataset {name}")
    folder = cache / f"{name}-{identity(dataset, source)}"
    arrays = _open(folder)
    if arrays is None:
        with _directory(cache) as temporary, _alone(folder):
            arrays = _open(folder) or _decode(dataset, source, temporary, folder)
    return arrays, arrays.hash


def _decode(dataset: Dataset, source: Path | None, temporary: Path, folder: Path) -> Arrays:
    decoded = dataset.decode(source, folder.parent / "download")
    try:
        _write(decoded, temporary, source)
    except OSError as error:
        raise _unwritable(folder.parent, error) from None
    _publish(temporary, folder)
    return _open(folder) or decoded


def identity(dataset: Dataset, source: Path | None) -> str:
    """What the decoded images depend on, in 16 digits: the dataset's fields, and the source's path, sizes and dates."""
    values = {field.name: getattr(dataset, field.name) for field in describe(type(dataset))}
    where = None if source is None else source.resolve()
    digest = hashlib.sha256(f"{LAYOUT}{canonical(values)}{where}".encode(errors="surrogateescape"))
    for path in () if where is None else files(where):
        stat = path.stat()
        digest.update(f"\n{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _open(folder: Path) -> Arrays | None:
    """The arrays of a complete folder; None if anything is missing or does not fit the rest."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        # Copy on write: nobody writes, and torch does not warn of a read-only array.
        parts = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in meta["shapes"]}
        if any(list(parts[name].shape) != shape for name, shape in meta["shapes"].items()):
            return None
        arrays = Arrays(**parts, classes=tuple(meta["classes"]), hash=meta["hash"])
        return arrays if _intact(folder, arrays) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _intact(folder: Path, arrays: Arrays) -> bool:
    """Whether the images are those that their hash names; a process looks at files once, unless they change."""
    files = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir()))
    if files not in _seen:
        if content(*arrays.parts().values()) != arrays.hash:
            return False
        _seen.add(files)
    return True


def _write(arrays: Arrays, folder: Path, source: Path | None) -> None:
    shapes = {}
    for name, array in arrays.parts().items():
        np.save(folder / f"{name}.npy", array)
        shapes[name] = array.shape
    meta = {
        "hash": arrays.hash,
        "classes": arrays.classes,
        "shapes": shapes,
        "source": "official or built in" if source is None else str(source.resolve()),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def _publish(temporary: Path, folder: Path) -> None:
    """Move a finished folder into place; where another process was faster, its folder stays."""
    with contextlib.suppress(OSError):
        if folder.exists() and _open(folder) is None:
            # Renamed out of the way first: no process sees a folder that is half removed.
            shutil.rmtree(folder.rename(temporary.with_name(f"{temporary.name}-damaged")), ignore_errors=True)
        temporary.rename(folder)


@contextlib.contextmanager
def _directory(cache: Path) -> Iterator[Path]:
    """A temporary folder beside the final one, gone afterwards; raises UsageError if it cannot be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".decoding-", dir=cache))
    except OSError as error:
        raise _unwritable(cache, error) from None
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes this folder. Who comes while the lock is removed decodes too, to no harm."""
    path = folder.with_name(f".{folder.name}.lock")
    with path.open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: all decode, one is published
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _unwritable(cache: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write decoded images to the cache folder {cache}: {error.strerror or error}")
