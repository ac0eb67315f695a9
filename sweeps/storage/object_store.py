"""Object-store backend: each node works in a local directory and syncs files through pyarrow.

The store is the source of truth, and the directory a cache of it. Files appear in the store atomically: objects are put
whole, and on other file systems a file is written under a temporary name and moved.
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

from basin.environment import default_cache
from basin.errors import UsageError
from basin.files import replace_atomically
from sweeps.storage.address import hide_secrets, show_address

PUT_WHOLE = ("s3", "gcs", "abfs")
"""File systems in which a file appears only once it is complete."""
PAUSES = (1.0, 4.0, 10.0)
"""Seconds between retries of a failed request."""
PARALLEL = 32
"""Files downloaded concurrently."""

_DOWN: set[str] = set()
"""Stores whose last request from this process failed."""
T = TypeVar("T")


@dataclass(frozen=True)
class Mirror:
    """A store and its local directory; implements `basin.files.Remote`."""

    uri: str
    folder: Path

    @classmethod
    def from_uri(cls, uri: str, cache: Path | None = None) -> "Mirror":
        """Open the store at a URI, with a directory in the cache; raises UsageError if pyarrow cannot."""
        if urlsplit(uri).password:
            raise UsageError("--storage must not contain a password; pass credentials through each node's environment")
        uri = uri.rstrip("/")
        try:
            _open_store(uri)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UsageError(_describe(uri, error)) from None
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return cls(uri, ((cache or default_cache()) / "storage" / name).resolve())

    def with_folder(self, folder: Path) -> "Mirror":
        """The same store with another local directory."""
        return replace(self, folder=folder.resolve())

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Download a missing file. With `anew` replace the local file, or remove it if the store has none."""
        if path.exists() and not anew:
            return
        system, target = self._locate(path)
        try:
            self._with_retries(lambda: _download(system, target, path))
        except FileNotFoundError:
            if anew:
                path.unlink(missing_ok=True)

    def send(self, *paths: Path) -> None:
        """Upload these files in order, each atomically."""
        for path in paths:
            system, target = self._locate(path)
            self._with_retries(partial(_upload, system, path, target))

    def put(self, path: Path, content: bytes) -> None:
        """Write a file atomically; there need be none in the local directory."""
        system, target = self._locate(path)
        self._with_retries(lambda: _write(system, target, content))

    def put_now(self, path: Path, content: bytes) -> None:
        """Write a small file without retries; raises UsageError if that fails."""
        system, target = self._locate(path)
        try:
            _write(system, target, content)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(_describe(self.uri, error)) from error

    def remove(self, path: Path) -> None:
        """Remove a file or folder from the store, if it exists."""
        system, target = self._locate(path)
        with suppress(FileNotFoundError):
            self._with_retries(lambda: _remove(system, target))

    def list_files(self, folder: Path) -> dict[Path, Any]:
        """Files below a folder of the store: local path → entry with `size` and `mtime_ns`."""
        system, target = self._locate(folder)
        selector = fs.FileSelector(target, recursive=True, allow_not_found=True)
        entries = self._with_retries(lambda: system.get_file_info(selector))
        files = [info for info in entries if info.type == fs.FileType.File and not info.base_name.startswith(".")]
        return {folder / PurePosixPath(info.path).relative_to(target): info for info in files}

    def list_folders(self) -> list[str]:
        """Names of the folders at the top of the store."""
        system, root = _open_store(self.uri)
        entries = self._with_retries(lambda: system.get_file_info(fs.FileSelector(root, allow_not_found=True)))
        return sorted(info.base_name for info in entries if info.type == fs.FileType.Directory)

    def read_file(self, path: Path) -> bytes | None:
        """Content of a file of the store; None if it does not exist."""
        system, target = self._locate(path)
        try:
            return self._with_retries(lambda: bytes(system.open_input_stream(target).read()))
        except FileNotFoundError:
            return None

    def pull_folder(self, folder: Path) -> None:
        """Download files below a folder that are missing locally; they must never change."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self.fetch, self.list_files(folder)))

    def prune_folder(self, folder: Path) -> None:
        """Remove local files below a folder that the store lacks."""
        stored = self.list_files(folder)
        for path in [path for path in folder.rglob("[!.]*") if path.is_file()]:
            if path not in stored or path.stat().st_size != stored[path].size:
                path.unlink()

    def _locate(self, path: Path) -> tuple[fs.FileSystem, str]:
        system, root = _open_store(self.uri)
        return system, str(PurePosixPath(root, path.relative_to(self.folder).as_posix()))

    def _with_retries(self, action: Callable[[], T]) -> T:
        """Run a request with retries; raises FileNotFoundError at once, and UsageError after the last retry.

        After such a failure requests are not retried until one succeeds.
        """
        for pause in (*(() if self.uri in _DOWN else PAUSES), None):
            try:
                result = action()
                _DOWN.discard(self.uri)
                return result
            except FileNotFoundError:
                raise
            except (pa.ArrowException, OSError) as error:
                if pause is None:
                    _DOWN.add(self.uri)
                    raise UsageError(_describe(self.uri, error)) from error
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


@cache
def _open_store(uri: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a URI; cached, as it holds connections and threads."""
    if uri.startswith("s3:"):
        uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"  # a small file in one request, not three
    system, root = fs.FileSystem.from_uri(uri)
    return system, root.rstrip("/")


def _download(system: fs.FileSystem, target: str, path: Path) -> None:
    with system.open_input_stream(target) as source:

        def write(temporary: Path) -> None:
            with temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)

        replace_atomically(path, write)


def _upload(system: fs.FileSystem, path: Path, target: str) -> None:
    """Upload without pyarrow's `copy_files`, which ignores errors on closing a stream."""
    _write(system, target, pa.memory_map(str(path)).read_buffer() if path.stat().st_size else b"")


def _write(system: fs.FileSystem, target: str, content: Any) -> None:
    """Write in a thread, out of reach of signal handlers: a stream closed early leaves a truncated file."""

    def write(path: str) -> None:
        with system.open_output_stream(path) as stream:
            stream.write(content)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(_write_atomically, system, target, write).result()


def _write_atomically(system: fs.FileSystem, target: str, write: Callable[[str], None]) -> None:
    """Call `write` with a path whose file then appears at its place."""
    if system.type_name in PUT_WHOLE:
        write(target)
        return
    folder, _, name = target.rpartition("/")
    system.create_dir(folder, recursive=True)
    temporary = f"{folder}/.{name}.{uuid4().hex}"
    try:
        write(temporary)
        system.move(temporary, target)
    except BaseException:
        with suppress(OSError):
            system.delete_file(temporary)
        raise


def _remove(system: fs.FileSystem, target: str) -> None:
    kind = system.get_file_info(target).type
    if kind == fs.FileType.File:
        system.delete_file(target)
    elif kind == fs.FileType.Directory:
        system.delete_dir(target)


def _describe(uri: str, error: Exception) -> str:
    return f"--storage {show_address(uri)}: {hide_secrets(' '.join(str(error).split()), uri)[:200]}"
