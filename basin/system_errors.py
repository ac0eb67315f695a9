"""Errors of the operating system: which one it was, where, and what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from basin.errors import UsageError

_DENIED = "allow this user to read and write there"
_NETWORK = "the disk or the network file system failed: check its server and mount"
MEANINGS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "the quota is used up: remove files or ask for more",
    errno.EFBIG: "the file system or a limit allows no larger file: check `ulimit -f`",
    errno.EROFS: "the file system is mounted read-only: mount it for writing",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ESTALE: "the network file system lost the file, which another host removed or its server restarted",
    errno.EIO: _NETWORK,
    errno.ENOTCONN: _NETWORK,
    errno.ESHUTDOWN: _NETWORK,
    errno.EHOSTDOWN: _NETWORK,
    errno.EREMOTEIO: _NETWORK,
    errno.ENODEV: _NETWORK,
    errno.ENXIO: _NETWORK,
    errno.EMFILE: "too few files may be open: raise `ulimit -n`",
    errno.ENFILE: "this host has too many open files: end other programs",
    errno.ENAMETOOLONG: "choose a shorter folder or name",
    errno.ENOLCK: "the file system has no locks: mount it with them (Lustre: -o flock; NFS: start its lock service)",
    errno.ENOSYS: "the file system lacks this function: mount it with it (Lustre: -o flock), or use another folder",
    errno.EOPNOTSUPP: "the file system lacks this function: use another folder",
}
"""Error of the system → what it means or what to do."""
WRONG_PATHS = dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a folder is expected: give another path")
"""The same for errors that mean a wrong path where a user gave one, and a bug of the program elsewhere."""
_QUOTED = re.compile(r"\[errno (\d+)\][^\n:]*(?:: '([^'\n]+)')?", re.IGNORECASE)


def describe_error(number: int | None, place: object) -> str:
    """Describe an error of the system in one line: where, what, and what to do."""
    words = os.strerror(number) if number else "it cannot be used"
    advice = (MEANINGS | WRONG_PATHS).get(number or 0, "check the file system")
    return f"{place}: {words[:1].lower()}{words[1:]}; {advice}, and rerun the command"


@contextmanager
def storage_errors_reported(folder: Path) -> Iterator[None]:
    """Turn any error of the system into a UsageError: Tune, Optuna and pyarrow write to the storage too.

    They hand it on as a cause, or as text.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        found = find_system_error(error)
        if found is None:
            raise
        number, place = found
        raise UsageError(describe_error(number, place or folder)) from error


def find_system_error(error: Exception) -> tuple[int, str | None] | None:
    """Return the number of the system's error that caused this one, and its file if known; None if there is none."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in MEANINGS:
            return cause.errno, None if cause.filename is None else os.fsdecode(cause.filename)
    for cause in causes:
        text = str(cause)
        for number, place in _QUOTED.findall(text):
            if int(number) in MEANINGS:
                return int(number), place or None
        # Libraries in other languages. The longest words first: some errors begin like others.
        for number in sorted(MEANINGS, key=lambda number: -len(os.strerror(number))):
            if os.strerror(number) in text:
                return number, None
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()  # a re-raised error can be its own cause
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
