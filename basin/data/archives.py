"""Read the files of a folder, zip or tar archive into memory; nothing is extracted to disk.

Every entry is read, or skipped for a recorded reason, or its source is refused: nothing is lost silently.
"""

import lzma
import os
import posixpath
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any

from basin.data.limits import Limits
from basin.data.unpacking import CHUNK, Stream, UnpackedStream
from basin.errors import UsageError

Wanted = Callable[[str], bool]
# RuntimeError: an encrypted member, or an unknown compression method. The last five: fields of a damaged zip or tar.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, RuntimeError),
    *(ValueError, KeyError, IndexError, OverflowError, struct.error),
)
MESSAGE = 160
"""Characters of a library's message that are shown: some quote damaged names of any length."""
PADDING = 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
"""Most zeros that end a whole tar archive: its end mark, and padding to a record of 10,240 bytes."""

HIDDEN, RESOURCE_FORK = "hidden", "a Mac's resource fork"
OUTSIDE, LOOP = "leads out of the source", "a link to a folder around it"
DEVICE, DEAD, OTHER = "a pipe or device", "a link to nothing", "not part of the dataset"


@dataclass(frozen=True)
class Contents:
    """The entries of a source."""

    files: dict[str, bytes]
    """Contents of the wanted files, sorted by path."""
    passed: dict[str, str]
    """Path → why it was skipped."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive."""

    name: str
    size: int = 0
    read: Callable[[], bytes] | None = None
    """Reads a regular file; None for anything else."""
    target: str | None = None
    """Target of a link, from the top of the archive; empty if it leads out of it."""


def read_source(source: Path, wanted: Wanted) -> Contents:
    """Read the files whose path within `source` is wanted.

    Links are followed, in archives too. Hidden files, absolute paths, paths with `..`, pipes and devices are skipped.
    Raises UsageError for a source that is neither a folder nor a whole archive, for a wanted file that cannot be read,
    for two entries of one path with different contents, and for a source beyond `Limits`.
    """
    limits = Limits.from_environment()
    try:
        contents = (
            _read_folder(source, wanted, limits) if source.is_dir() else _Archive(source, wanted, limits).contents()
        )
    except UsageError:
        raise
    except DAMAGED as error:
        raise _unreadable_error(source, error) from None
    return Contents(dict(sorted(contents.files.items())), dict(sorted(contents.passed.items())))


def entry_names(source: Path) -> list[str]:
    """Paths of all files in `source` that could be read; errors as `read_source`."""
    return [name for name, why in read_source(source, lambda _: False).passed.items() if why == OTHER]


def walk_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted, or the file itself; hidden ones are left out.

    Links are followed, except to a folder around them. Raises UsageError for a folder that cannot be listed.
    """
    if folder.is_file():
        yield folder
        return
    yield from (path for _, path, why in _walk_folder(folder) if not why)


def _walk_folder(folder: Path, prefix: str = "", around: tuple[str, ...] = ()) -> Iterator[tuple[str, Path, str]]:
    """Yield every entry below a folder: path from the top, path, and the reason to skip it (empty: read it)."""
    around = (*around, os.path.realpath(folder))
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: (entry.is_dir(), entry.name))
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    for entry in entries:
        name, path = prefix + entry.name, folder / entry.name
        if why := _hidden(PurePosixPath(entry.name)):
            yield name, path, why
        elif entry.is_dir():
            if os.path.realpath(path) in around:
                yield name, path, LOOP
            else:
                yield from _walk_folder(path, f"{name}/", around)
        elif entry.is_file():
            yield name, path, ""
        else:
            yield name, path, DEAD if entry.is_symlink() else DEVICE


def download_file(url: str, md5: str, folder: Path) -> Path:
    """Download `url` into `folder` unless it is there, and check its md5.

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


def _read_folder(folder: Path, wanted: Wanted, limits: Limits) -> Contents:
    contents, total = Contents({}, {}), 0
    for name, path, why in _walk_folder(folder):
        if why == DEAD and wanted(name):
            raise UsageError(f"{path} is a link to {path.readlink()}, which is not there: fetch it, or remove the link")
        if why or not wanted(name):
            contents.passed[name] = why or OTHER
            continue
        size = path.stat().st_size
        total += size
        limits.check_file(str(path), size)
        limits.check_total(str(folder), total)
        contents.files[name] = path.read_bytes()
    return contents


@dataclass
class _Archive:
    """One reading of an archive."""

    source: Path
    wanted: Wanted
    limits: Limits
    files: dict[str, bytes] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    """Paths of all regular files."""
    links: dict[str, str] = field(default_factory=dict)
    total: int = 0

    def contents(self) -> Contents:
        """Read the members in one pass, and the files that links point to in a second."""
        for member in _members(self.source, self.limits):
            self._take(member)
        aliases = dict(alias for link in self.links for alias in self._follow(link))
        missing = set(aliases.values()) - set(self.files)
        targets = {}
        if missing:
            for member in _members(self.source, self.limits):
                path, _ = _safe_path(member.name)
                if path in missing and member.read:
                    targets[path] = self._content(member)
        self.files |= {alias: self.files.get(name) or targets[name] for alias, name in aliases.items()}
        return Contents(self.files, self.passed)

    def _take(self, member: Member) -> None:
        path, why = _safe_path(member.name)
        if why:
            self.passed[member.name] = why
        elif member.target is not None:
            self.links[path] = member.target
        elif member.read is None:
            self.passed[path] = DEVICE
        elif self.wanted(path):
            content = self._content(member)
            if self.files.setdefault(path, content) != content:
                raise UsageError(f"{self.source} has two files {path} of different contents: keep one of them")
            self.names[path] = None
        else:
            self.passed[path] = OTHER
            self.names[path] = None

    def _content(self, member: Member) -> bytes:
        assert member.read is not None
        self.total += member.size
        what = f"{member.name} of {self.source}"
        self.limits.check_file(what, member.size)
        self.limits.check_total(str(self.source), self.total, self.source.stat().st_size)
        return member.read()

    def _follow(self, link: str) -> Iterator[tuple[str, str]]:
        """The wanted paths that a link adds, each with the file that it stands for."""
        target = self.links[link]
        if target and f"{link}/".startswith(f"{target}/"):
            self.passed[link] = LOOP
            return
        found = list(self._below(target, frozenset({link}))) if target else []
        if not found and self.wanted(link):
            where = target or "a place out of the archive"
            raise UsageError(
                f"{self.source}: {link} is a link to {where}, which is not in the archive: pack the files themselves"
            )
        if not found:
            self.passed[link] = DEAD if target else OUTSIDE
        for rest, name in found:
            if self.wanted(link + rest):
                yield link + rest, name
            else:
                self.passed[link + rest] = OTHER

    def _below(self, path: str, seen: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Regular files at or below a path, links followed: the rest of their path, and their own."""
        if path in self.names:
            yield "", path
            return
        for parent in (path, *(str(parent) for parent in PurePosixPath(path).parents)):
            if parent in self.links and parent not in seen and self.links[parent]:
                target = posixpath.normpath(self.links[parent] + path[len(parent) :])
                yield from self._below(target, seen | {parent})
                return
        start = f"{path}/"
        yield from ((name[len(path) :], name) for name in self.names if name.startswith(start))
        for link, target in self.links.items():
            if link.startswith(start) and link not in seen and target:
                for rest, name in self._below(target, seen | {link}):
                    yield link[len(path) :] + rest, name


def _members(source: Path, limits: Limits) -> Iterator[Member]:
    with source.open("rb") as opened:
        start = opened.read(6)
    return _zip_members(source) if start.startswith(b"PK") else _tar_members(source, start, limits)


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        infos = archive.infolist()
        listed = _listed_count(source)
        if listed not in (len(infos), 0xFFFF):  # 65,535 stands for a number in another place
            raise zipfile.BadZipFile(f"its directory has {len(infos)} of {listed} entries")
        # Windows programs wrote `\` between folders.
        windows = not any("/" in info.filename for info in infos)
        for info in infos:
            name = info.filename.replace("\\", "/") if windows else info.filename
            archive.open(info).close()  # compares the name in the directory with that beside the contents
            if name.endswith("/"):
                continue
            read = partial(archive.read, info)
            if stat.S_ISLNK(info.external_attr >> 16):
                target = read().decode(errors="surrogateescape") if info.file_size < CHUNK else ""
                yield Member(name, target=_inside(posixpath.join(posixpath.dirname(name), target)))
            else:
                yield Member(name, info.file_size, read)


def _listed_count(source: Path) -> int:
    """Number of entries that the end of a zip file states."""
    with source.open("rb") as opened:
        opened.seek(max(0, source.stat().st_size - (1 << 16) - 22))
        end = opened.read()
    return int.from_bytes(end[(at := end.rindex(b"PK\5\6") + 10) : at + 2], "little")


class _StrictInfo(tarfile.TarInfo):
    """A tar header that, if damaged or missing, raises an error: the library would take it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        """Read one header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


def _tar_members(source: Path, start: bytes, limits: Limits) -> Iterator[Member]:
    with source.open("rb") as opened:
        stream: Any = UnpackedStream(opened, start, source, limits)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo, bufsize=CHUNK) as archive:
            for info in archive:
                if info.issym():
                    yield Member(info.name, target=_inside(posixpath.join(posixpath.dirname(info.name), info.linkname)))
                elif info.islnk():
                    yield Member(info.name, target=_inside(info.linkname))
                elif not info.isdir():
                    yield Member(info.name, info.size, partial(_extract, archive, info) if info.isreg() else None)
            assert archive.fileobj is not None
            _check_end(archive.fileobj)


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    extracted = archive.extractfile(info)
    assert extracted is not None, "regular members have contents"
    return extracted.read()


def _check_end(rest: Stream) -> None:
    """Read to the end, so that the compression's checksum is compared; a whole archive has only padding there."""
    size = tarfile.BLOCKSIZE  # the first block of zeros
    while part := rest.read(CHUNK):
        if part.strip(b"\0"):
            raise tarfile.ReadError("more data after its end mark: another archive is appended, or it is damaged")
        size += len(part)
    if size > PADDING:
        raise tarfile.ReadError(f"its last {size:,} bytes are zeros: a download or copy that did not finish")


def _inside(target: str) -> str:
    """Return the path that a link in an archive points to; empty if it leads out of the archive."""
    path = posixpath.normpath(target)
    return "" if path.startswith(("/", "../")) or path in ("..", ".") else path


def _safe_path(name: str) -> tuple[str, str]:
    """The path without `./`, and why it must be skipped, if so."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "", OUTSIDE
    return str(path), _hidden(path)


def _hidden(path: PurePosixPath) -> str:
    if "__MACOSX" in path.parts:
        return RESOURCE_FORK
    return HIDDEN if any(part.startswith(".") or part == "lost+found" for part in path.parts) else ""


def summarise_passed(passed: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """Reason, number of entries and first of them, most frequent first."""
    groups: dict[str, list[str]] = {}
    for name, why in passed.items():
        groups.setdefault(why, []).append(name)
    return sorted(((why, len(names), names[0]) for why, names in groups.items()), key=lambda group: -group[1])


def _unreadable_error(source: Path, error: Exception) -> UsageError:
    if isinstance(error, OSError) and error.filename and Path(error.filename) != source:
        return UsageError(f"cannot read {error.filename}: {error.strerror}")
    first = str(error).partition("\n")[0][:MESSAGE]
    return UsageError(f"cannot read {source} ({first}): expected a folder, or a whole .zip, .tar.gz or .tar.xz archive")
