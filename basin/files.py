"""Atomic files, their copies in a remote storage, and JSON objects that may be missing or damaged.

Only the standard library: `analysis`, which does without PyTorch, reads and writes with it too.
"""

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol


class Remote(Protocol):
    """A remote storage that mirrors a machine's folders for other machines."""

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Download a file that is missing here. `anew` replaces the local file, and removes it if the remote has none.

        Use `anew` for files that another machine may have changed.
        """

    def send(self, *paths: Path) -> None:
        """Upload these files in order, each atomically."""

    def remove(self, path: Path) -> None:
        """Delete a file or folder from the remote, if it exists."""


class Nowhere:
    """No-op remote, for storage that every node already shares."""

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Do nothing."""

    def send(self, *paths: Path) -> None:
        """Do nothing."""

    def remove(self, path: Path) -> None:
        """Do nothing."""


def replace_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then rename it to `path`: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = create_temporary(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_temporary(path: Path) -> Path:
    """Create an empty temporary file beside `path`, with the permissions that the umask leaves.

    Files of `tempfile` are private whatever the umask is, and a process can read its umask only by changing it.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            return temporary


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text or bytes atomically."""

    def write(temporary: Path) -> None:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content)

    replace_atomically(path, write)


def read_object(file: Path, *parts: str) -> dict[str, Any]:
    """Read a JSON object, or the one at `parts` inside it; empty if the file is missing, damaged or has none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    for part in parts:
        content = content.get(part) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}
