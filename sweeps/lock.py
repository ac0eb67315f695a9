"""One writer a sweep: what changes a sweep's results or its runs in MLflow holds the sweep's lock."""

import fcntl
import os
import platform
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from basin.errors import UsageError
from sweeps.mirror import Mirror
from sweeps.store import Store

BEAT = 5.0
"""Seconds between two signs of life of a launcher whose storage has no locks."""
SILENCE = 30.0
"""Seconds without a sign of life, by the storage's clock, after which a launcher counts as dead."""
_SIGN = f"{platform.node()} {os.getpid()}\n".encode()


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold a sweep's folder, made if absent; raises UsageError if another process does, or if it cannot be written."""
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        lock = (store.folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"--storage {store.folder.parent}: expected a folder to write to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _held(store) from None
        yield


def _held(store: Store) -> UsageError:
    return UsageError(f"sweep {store.name!r} is being run by another launcher; wait, or give --name")


@contextmanager
def leased(mirror: Mirror | None, store: Store, *, beat: float = BEAT, silence: float = SILENCE) -> Iterator[None]:
    """Hold a sweep in a storage that has no locks, against launchers of other machines; nothing for a folder.

    Each launcher writes a file of its own, and then looks for others': of two at least one sees the other, and steps
    back. The holder writes its file again and again; one that finds it gone was taken for dead, and stops.
    """
    if mirror is None:
        yield
        return
    own, over = _raised(mirror, store, silence), Event()
    beating = Thread(target=_beat, args=(mirror, own, beat, over), daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        _lower(mirror, own)


def _raised(mirror: Mirror, store: Store, silence: float) -> Path:
    """The file of a launcher that is alone; raises UsageError when another is seen to be alive."""
    folder, seen = store.folder / "launchers", dict[Path, int]()
    while True:
        own = folder / uuid4().hex
        mirror.put(own, _SIGN)
        times = {path: info.mtime_ns for path, info in mirror.files(folder).items()}
        now = times.pop(own)
        living = {path: at for path, at in times.items() if now - at < silence * 1e9}
        if not living:
            for path in times:
                _lower(mirror, path)
            return own
        _lower(mirror, own)
        if any(at > seen.get(path, at) for path, at in living.items()):
            raise _held(store)
        seen |= living
        time.sleep(random.uniform(0.5, 1.5))


def _lower(mirror: Mirror, path: Path) -> None:
    with suppress(UsageError):  # it counts as dead soon
        mirror.remove(path)


def _beat(mirror: Mirror, own: Path, beat: float, over: Event) -> None:
    while not over.wait(beat):
        with suppress(UsageError):
            if own not in mirror.files(own.parent):
                os.kill(os.getpid(), signal.SIGTERM)  # another launcher has the sweep
                return
            mirror.put(own, _SIGN)
