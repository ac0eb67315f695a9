"""Files of a folder, a zip or a tar archive in one pass, read into memory: nothing is ever extracted to disk."""

import functools
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from basin.errors import UsageError

Reader = Callable[[], bytes]
# RuntimeError: an encrypted member, or an unknown compression method.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, RuntimeError)


def read(source: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Contents of the files whose path within `source` is wanted, sorted by path.

    Links in archives, absolute paths, paths with `..` and hidden files are passed over.
    Raises UsageError for what is neither a folder nor a whole, readable archive.
    """
    try:
        found = {name: content() for path, content in _members(source) if (name := _safe(path)) and wanted(name)}
    except DAMAGED as error:
        raise _unreadable(source, error) from None
    return dict(sorted(found.items()))


def names(source: Path) -> list[str]:
    """Paths of all files in `source`; errors as `read`."""
    found: list[str] = []
    # `append` returns None: no file is wanted, so none is read.
    read(source, found.append)  # type: ignore[arg-type]
    return found


def files(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted, or the file itself; follows links, each folder once."""
    if folder.is_file():
        yield folder
    seen = set()
    for parent, folders, here in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in sorted(here) if (path := Path(parent, name)).is_file())


def fetch(url: str, md5: str, folder: Path) -> Path:
    """The file at `url` in `folder`, downloaded if it is not there, its md5 checked.

    Raises UsageError if it cannot be downloaded; then nothing is left in the folder.
    """
    from torchvision.datasets.utils import check_integrity, download_url  # type: ignore[import-untyped]

    target = folder / PurePosixPath(url).name
    if check_integrity(str(target), md5):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
        try:
            download_url(url, temporary, filename=target.name, md5=md5)
        except (OSError, RuntimeError, HTTPException) as error:
            raise UsageError(
                f"cannot download {url} ({error}): get {target.name} on a machine with network, then --data PATH"
            ) from None
        return Path(temporary, target.name).replace(target)


def _members(source: Path) -> Iterator[tuple[str, Reader]]:
    if source.is_dir():
        for path in files(source):
            yield path.relative_to(source).as_posix(), path.read_bytes
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, functools.partial(archive.read, info)
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isreg():
                    yield member.name, functools.partial(_content, archive, member)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    assert opened is not None, "regular members have contents"
    return opened.read()


def _safe(name: str) -> str:
    """The path without `./`, or nothing if it leads out of the archive, is hidden, or is a Mac's resource fork."""
    path = PurePosixPath(name)
    if path.is_absolute() or any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return ""
    return str(path)


def _unreadable(source: Path, error: Exception) -> UsageError:
    first = str(error).partition("\n")[0]
    return UsageError(f"cannot read {source} ({first}): expected a folder, or a whole .zip, .tar.gz or .tar.xz archive")
