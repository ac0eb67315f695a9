"""SIGTERM in a trial's process: the step is ended, the state kept, and the trial goes on in another process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Timer
from types import FrameType
from typing import Any

from ray.tune.trainable import wrap_function

from basin import interrupt

GRACE = 20.0
"""Seconds that a step, and writing the state after it, may take: then the process ends as it is."""

_busy = Event()


@contextmanager
def busy() -> Iterator[None]:
    """A trial is at work in this process: on SIGTERM it is given time to keep its state."""
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()
        interrupt.withdraw()


def preemptible(function: Callable[..., None]) -> type[Any]:
    """A function for Tune as a class whose process heeds SIGTERM: Tune runs the function in another thread.

    Python gives signals to the main thread alone, which is where Tune sets a trainable up.
    """

    class Preemptible(wrap_function(function)):  # type: ignore[misc]
        def setup(self, config: dict[str, Any], **more: Any) -> None:
            _heed()
            super().setup(config, **more)

    Preemptible.__name__ = "trainable"
    return Preemptible


def _heed() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def yield_soon(number: int, frame: FrameType | None) -> None:
        if not _busy.is_set() and callable(before):
            before(number, frame)
        interrupt.notice()
        timer = Timer(GRACE, os._exit, (1,))
        timer.daemon = True
        timer.start()

    if getattr(before, "__name__", "") != yield_soon.__name__:  # a process is set up for trial after trial
        signal.signal(signal.SIGTERM, yield_soon)
