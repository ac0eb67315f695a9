"""The searcher's journal in an object store: a base file, and parts that continue it.

Objects cannot be appended to, and the journal grows with every trial. So the base, `optuna.journal`, is uploaded once,
and what follows in parts of at most PART bytes and one trial more: only the last part is uploaded again. A part is
named by the offset of its first byte and holds its checksum. The folder of the parts is named by the base that they
continue, and an empty part is uploaded before the base: so a damaged base is told from one that replaced another when
the launcher was killed. A sweep of an earlier version is a base without parts.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from basin.files import Remote, write_atomically
from sweeps.storage.object_store import PARALLEL, Mirror

PART = 1 << 16
"""Bytes from which a part is complete, and the next one begins."""


@dataclass
class JournalUploader:
    """Uploads what a journal has grown by. Only one process may upload a journal."""

    remote: Remote
    journal: Path
    _end: int | None = None
    """Offset of the end of what the object store has; None before the first upload of this process."""
    _start: int = 0
    """Offset of the last part."""
    _folder: Path | None = None

    def send(self) -> None:
        """Upload what is new; the whole journal if it does not continue that of the object store."""
        if not isinstance(self.remote, Mirror):
            return
        if self._end is None or self._folder is None or self.journal.stat().st_size < self._end:
            self._find_end(self.remote)
        assert self._end is not None
        assert self._folder is not None
        if self._end - self._start >= PART:
            self._start = self._end
        with self.journal.open("rb") as file:
            file.seek(self._start)
            content = file.read()
        if self._start + len(content) > self._end:
            self.remote.put(_part_path(self._folder, self._start), _encode_part(content))
            self._end = self._start + len(content)

    def _find_end(self, mirror: Mirror) -> None:
        """Compare the journal with what the object store has; replace that if the journal does not continue it."""
        content = self.journal.read_bytes()
        if not self._continues(mirror, content):
            self._folder, self._start, self._end = _parts_folder(self.journal, content), len(content), len(content)
            mirror.put(_part_path(self._folder, self._end), EMPTY)
            mirror.send(self.journal)
        for folder in _parts_folders(mirror, self.journal) - {self._folder}:
            mirror.remove(folder)

    def _continues(self, mirror: Mirror, content: bytes) -> bool:
        """Tell whether the journal continues what the object store has, whose end is noted; not if that is damaged."""
        base = mirror.read_file(self.journal)
        if not base or not content.startswith(base):
            return False
        self._folder, self._start, self._end = _parts_folder(self.journal, base), len(base), len(base)
        for path, body in _read_parts(mirror, self._folder):
            if body is None or int(path.name) != self._end or not content.startswith(body, self._end):
                return False
            self._start, self._end = self._end, self._end + len(body)
        return True


def download_journal(mirror: Mirror, journal: Path) -> str | None:
    """Download a journal, in place of the local one; return what is wrong with it, None if nothing is.

    If a file of it is damaged or missing, what precedes that is kept as `optuna.journal.damaged` and there is no
    journal: the search is then rebuilt from the finished trials.
    """
    content, fault = _read_journal(mirror, journal)
    if content is not None:
        write_atomically(journal.with_name(f"{journal.name}.damaged") if fault else journal, content)
    if content is None or fault:
        journal.unlink(missing_ok=True)
    return fault and f"{fault}: the search is rebuilt from the finished trials"


def _read_journal(mirror: Mirror, journal: Path) -> tuple[bytes | None, str | None]:
    """Content of a journal as far as it is intact, and the name of the first file that is not."""
    content, folders = mirror.read_file(journal), _parts_folders(mirror, journal)
    if content is None:  # an empty part is left by a launcher that was killed before it uploaded its first base
        stored = mirror.list_files(_all_parts(journal)).values()
        return None, f"{journal.name} is missing" if any(info.size > len(EMPTY) for info in stored) else None
    folder = _parts_folder(journal, content)
    if folders and folder not in folders:
        return content, f"{journal.name} is damaged"
    for path, body in _read_parts(mirror, folder):
        name = path.relative_to(journal.parent)
        if body is None:
            return content, f"{name} is damaged"
        if int(path.name) != len(content):
            return content, f"the part before {name} is missing"
        content += body
    return content, None


def _all_parts(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.parts")


def _parts_folder(journal: Path, base: bytes) -> Path:
    return _all_parts(journal) / f"{len(base)}-{zlib.crc32(base):08x}"


def _part_path(folder: Path, start: int) -> Path:
    return folder / f"{start:015d}"


def _parts_folders(mirror: Mirror, journal: Path) -> set[Path]:
    """Folders of the parts that continue a base, of this journal or of one that it has replaced."""
    return {path.parent for path in mirror.list_files(_all_parts(journal)) if path.name.isdecimal()}


def _read_parts(mirror: Mirror, folder: Path) -> Iterator[tuple[Path, bytes | None]]:
    """Parts in their order, with their content: None if it is damaged. Other files are ignored."""
    paths = sorted(path for path in mirror.list_files(folder) if path.name.isdecimal())
    with ThreadPoolExecutor(PARALLEL) as pool:
        contents = list(pool.map(mirror.read_file, paths))
    for path, content in zip(paths, contents, strict=True):
        yield path, None if content is None else _decode_part(content)


def _encode_part(content: bytes) -> bytes:
    return b"%08x\n" % zlib.crc32(content) + content


def _decode_part(content: bytes) -> bytes | None:
    checksum, _, body = content.partition(b"\n")
    return body if checksum == b"%08x" % zlib.crc32(body) else None


EMPTY = _encode_part(b"")
"""Part that begins the folder of a base."""
