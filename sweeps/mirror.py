"""A storage that is no folder: each machine works in a folder of its own, and pyarrow copies files there and back.

What lies in the storage is the truth, and the folder a cache of it. Only whole files appear in the storage: an object
is put whole or not at all, and elsewhere a file is written beside its place and moved.
"""

import hashlib
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from basin.errors import UsageError
from basin.files import replace_atomically
from basin.place import default_cache

PUT_WHOLE = ("s3", "gcs", "abfs")
"""File systems in which a file appears when it has been written to its end."""
PAUSES = (1.0, 4.0, 10.0)
"""Seconds between two tries of what a storage does not do."""
AT_ONCE = 32
"""Files fetched side by side."""

_AWAY: set[str] = set()
"""Storages that did not answer this process when last asked."""
T = TypeVar("T")


@dataclass(frozen=True)
class Mirror:
    """A storage by its URI, and the folder of this machine in which its files are worked on; a `basin.files.Remote`."""

    uri: str
    folder: Path

    @classmethod
    def of(cls, uri: str, cache: Path | None = None) -> "Mirror":
        """The storage of this URI, with a folder in the cache; raises UsageError if pyarrow does not know it."""
        if urlsplit(uri).password:
            raise UsageError("--storage: expected no secret in it; give it in the environment of every node")
        uri = uri.rstrip("/")
        try:
            _opened(uri)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UsageError(f"--storage {uri}: {_line(error)}") from None
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return cls(uri, ((cache or default_cache()) / "storage" / name).resolve())

    def at(self, folder: Path) -> "Mirror":
        """The same storage, copied into another folder."""
        return replace(self, folder=folder.resolve())

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Bring a file that is there and not here; `anew` in any case, and removes it where it is not there."""
        if path.exists() and not anew:
            return
        system, there = self._there(path)
        try:
            self._patiently(lambda: _download(system, there, path))
        except FileNotFoundError:
            if anew:
                path.unlink(missing_ok=True)

    def send(self, *paths: Path) -> None:
        """Bring these files there, one after the other, each whole or not at all."""
        for path in paths:
            system, there = self._there(path)
            self._patiently(partial(_upload, system, path, there))

    def put(self, path: Path, content: bytes) -> None:
        """Write a small file there at once, or raise UsageError: without patience, for who finds out or asks again."""
        system, there = self._there(path)
        try:
            _write(system, there, content)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"--storage {self.uri}: {_line(error)}") from error

    def remove(self, path: Path) -> None:
        """Remove a file or a folder there, if it is there."""
        system, there = self._there(path)
        with suppress(FileNotFoundError):
            self._patiently(lambda: _remove(system, there))

    def files(self, folder: Path) -> dict[Path, Any]:
        """The files below a folder there, by where they would be here, with their `size` and `mtime_ns`."""
        system, there = self._there(folder)
        selector = fs.FileSelector(there, recursive=True, allow_not_found=True)
        found = self._patiently(lambda: system.get_file_info(selector))
        own = [info for info in found if info.type == fs.FileType.File and not info.base_name.startswith(".")]
        return {folder / PurePosixPath(info.path).relative_to(there): info for info in own}

    def folders(self) -> list[str]:
        """The names of what lies at the top of the storage."""
        system, root = _opened(self.uri)
        found = self._patiently(lambda: system.get_file_info(fs.FileSelector(root, allow_not_found=True)))
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def read(self, path: Path) -> bytes | None:
        """What is in a file there; None if it is not there."""
        system, there = self._there(path)
        try:
            return self._patiently(lambda: bytes(system.open_input_stream(there).read()))
        except FileNotFoundError:
            return None

    def pull(self, folder: Path) -> None:
        """Fetch what is below a folder there and not here: files that never change."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.fetch, self.files(folder)))

    def prune(self, folder: Path) -> None:
        """Remove what is below a folder here and not there."""
        there = self.files(folder)
        for path in [path for path in folder.rglob("[!.]*") if path.is_file()]:
            if path not in there or path.stat().st_size != there[path].size:
                path.unlink()

    def _there(self, path: Path) -> tuple[fs.FileSystem, str]:
        system, root = _opened(self.uri)
        return system, str(PurePosixPath(root, path.relative_to(self.folder).as_posix()))

    def _patiently(self, action: Callable[[], T]) -> T:
        """Do something in the storage, again if it fails; raises FileNotFoundError at once, at last UsageError.

        Where a storage has not answered for so long, the next one that asks has no patience, until one is answered.
        """
        for pause in (*(() if self.uri in _AWAY else PAUSES), None):
            try:
                found = action()
                _AWAY.discard(self.uri)
                return found
            except FileNotFoundError:
                raise
            except (pa.ArrowException, OSError) as error:
                if pause is None:
                    _AWAY.add(self.uri)
                    raise UsageError(f"--storage {self.uri}: {_line(error)}") from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


@cache
def _opened(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI and the path in it; once a process, for it holds connections and threads."""
    if uri.startswith("s3:"):
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"  # a small file in one request, not three
    system, root = fs.FileSystem.from_uri(uri)
    return system, root.rstrip("/")


def _download(system: fs.FileSystem, there: str, path: Path) -> None:
    with system.open_input_stream(there) as source:

        def write(temporary: Path) -> None:
            with temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)

        replace_atomically(path, write)


def _upload(system: fs.FileSystem, path: Path, there: str) -> None:
    """Not by pyarrow's `copy_files`, which passes over what a stream says when it is closed: that it failed."""
    _write(system, there, pa.memory_map(str(path)).read_buffer() if path.stat().st_size else b"")


def _write(system: fs.FileSystem, there: str, content: Any) -> None:
    """In a thread, which no signal's exception ends: a stream that is closed early leaves a part of the file."""

    def write(target: str) -> None:
        with system.open_output_stream(target) as stream:
            stream.write(content)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(_whole, system, there, write).result()


def _whole(system: fs.FileSystem, there: str, write: Callable[[str], None]) -> None:
    """Let `write` fill a file that then appears in its place."""
    if system.type_name in PUT_WHOLE:
        write(there)
        return
    folder, _, name = there.rpartition("/")
    system.create_dir(folder, recursive=True)
    beside = f"{folder}/.{name}.{uuid4().hex}"
    try:
        write(beside)
        system.move(beside, there)
    except BaseException:
        with suppress(OSError):
            system.delete_file(beside)
        raise


def _remove(system: fs.FileSystem, there: str) -> None:
    kind = system.get_file_info(there).type
    if kind == fs.FileType.File:
        system.delete_file(there)
    elif kind == fs.FileType.Directory:
        system.delete_dir(there)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
