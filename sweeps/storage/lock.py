"""Sweep lock: only one process may modify a sweep's results or MLflow runs."""

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
from basin.system_errors import describe_error
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store

BEAT = 5.0
"""Seconds between two renewals of a lease."""
SILENCE = 30.0
"""Seconds without renewal, by the clock of the object store, after which a lease has expired."""
_SIGN = f"{platform.node()} {os.getpid()}\n".encode()


@contextmanager
def locked_folder(store: Store) -> Iterator[None]:
    """Lock a sweep's folder, created if absent; raises UsageError if it is locked or not writable."""
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        lock = (store.folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"--storage {store.folder.parent}: expected a folder to write to: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy_error(store) from None
        except OSError as error:
            place = f"--storage {store.folder.parent}: cannot be locked"
            raise UsageError(describe_error(error.errno, place)) from error
        yield


def _busy_error(store: Store) -> UsageError:
    return UsageError(f"sweep {store.name!r} is being run by another launcher; wait, or give --name")


@contextmanager
def leased_sweep(
    mirror: Mirror | None, store: Store, *, beat: float = BEAT, silence: float = SILENCE
) -> Iterator[None]:
    """Hold a lease on a sweep in an object store, which has no locks; do nothing for a folder.

    Each launcher writes a lease file, then lists the others; if it sees another live lease it withdraws. The holder
    renews its lease; a launcher whose lease is gone stops.
    """
    if mirror is None:
        yield
        return
    lease, over = _write_lease(mirror, store, silence), Event()
    renewal = Thread(target=_renew_lease, args=(mirror, lease, beat, over), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        over.set()
        renewal.join()
        _remove_lease(mirror, lease)


def _write_lease(mirror: Mirror, store: Store, silence: float) -> Path:
    """Write the lease of the only launcher; raises UsageError if another lease is renewed."""
    folder, seen = store.folder / "launchers", dict[Path, int]()
    while True:
        lease = folder / uuid4().hex
        mirror.put_now(lease, _SIGN)
        times = {path: info.mtime_ns for path, info in mirror.list_files(folder).items()}
        now = times.pop(lease)
        living = {path: at for path, at in times.items() if now - at < silence * 1e9}
        if not living:
            for path in times:
                _remove_lease(mirror, path)
            return lease
        _remove_lease(mirror, lease)
        if any(at > seen.get(path, at) for path, at in living.items()):
            raise _busy_error(store)
        seen |= living
        time.sleep(random.uniform(0.5, 1.5))


def _remove_lease(mirror: Mirror, path: Path) -> None:
    with suppress(UsageError):  # it expires soon
        mirror.remove(path)


def _renew_lease(mirror: Mirror, lease: Path, beat: float, over: Event) -> None:
    while not over.wait(beat):
        with suppress(UsageError):
            if lease not in mirror.list_files(lease.parent):
                os.kill(os.getpid(), signal.SIGTERM)  # another launcher has the sweep
                return
            mirror.put_now(lease, _SIGN)
