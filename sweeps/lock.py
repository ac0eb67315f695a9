"""One writer a sweep: what changes a sweep's results or its runs in MLflow holds the sweep's lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from basin.errors import UsageError
from sweeps.store import Store


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
            raise UsageError(f"sweep {store.name!r} is being run by another launcher; wait, or give --name") from None
        yield
