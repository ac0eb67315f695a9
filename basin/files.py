"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Remote(Protocol):
    """Where the files of a machine's folders lie too, for other machines; basin does not know what that is."""

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Bring a file that is there and not here; `anew` brings it in any case, and removes it where it is not there.

        So is brought what other machines may have changed.
        """

    def send(self, *paths: Path) -> None:
        """Bring these files there, one after the other, each whole or not at all."""

    def remove(self, path: Path) -> None:
        """Remove a file or a folder there, if it is there."""


class Nowhere:
    """The files are seen by all who need them."""

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Nothing."""

    def send(self, *paths: Path) -> None:
        """Nothing."""

    def remove(self, path: Path) -> None:
        """Nothing."""


def replace_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, then rename it: readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """`replace_atomically` for a text."""

    def write(temporary: Path) -> None:
        temporary.write_text(text)

    replace_atomically(path, write)
