"""Short-lived notes in a storage, by which machines find out whether they share it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from basin.errors import UsageError
from basin.system_errors import describe_error
from sweeps.storage.address import show_address
from sweeps.storage.object_store import Mirror


def _name_folder() -> str:
    return f"doctor-{uuid4().hex}"


@dataclass(frozen=True)
class NoteBoard:
    """A folder of notes in a storage; it appears with the first note, and `remove` takes it away."""

    storage: Path
    """An existing folder, or the local directory of the object store."""
    mirror: Mirror | None = None
    """Object store, if the storage is one."""
    name: str = field(default_factory=_name_folder)

    def describe(self) -> str:
        """The storage as a message shows it."""
        return show_address(self.mirror.uri) if self.mirror else str(self.storage)

    def write_note(self, author: str, text: str) -> None:
        """Leave a note; raises UsageError if the storage cannot be written."""
        path = self._path(author)
        if self.mirror:
            self.mirror.put_now(path, text.encode())
            return
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise UsageError(f"cannot write to {describe_error(error.errno, self.storage)}") from error

    def read_note(self, author: str) -> str | None:
        """A note of this or another machine; None if it is not seen here."""
        path = self._path(author)
        if self.mirror:
            content = self.mirror.read_file(path)
            return None if content is None else content.decode()
        try:
            return path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read {describe_error(error.errno, self.storage)}") from error

    def remove(self) -> None:
        """Remove every note."""
        folder = self.storage / self.name
        if self.mirror:
            self.mirror.remove(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, author: str) -> Path:
        return self.storage / self.name / author


def open_board(storage: Path, mirror: Mirror | None) -> NoteBoard:
    """A board in an object store, or in the nearest existing folder of a storage that need not exist yet."""
    if mirror:
        return NoteBoard(mirror.folder, mirror)
    resolved = storage.resolve()
    return NoteBoard(next(parent for parent in (resolved, *resolved.parents) if parent.is_dir()))
