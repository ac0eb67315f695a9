"""Preemption: on SIGTERM a trial finishes its step, saves its state, and continues in another process."""

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
"""Seconds for finishing a step and saving the state; after them the process exits."""

_busy = Event()


@contextmanager
def preemption_deferred() -> Iterator[None]:
    """Give the trial of this process time to save its state on SIGTERM."""
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()
        interrupt.withdraw_request()


def make_preemptible(function: Callable[..., None]) -> type[Any]:
    """Wrap a function as a Tune trainable whose process handles SIGTERM.

    Python delivers signals to the main thread, where Tune sets a trainable up; the function runs in another thread.
    """

    class Preemptible(wrap_function(function)):  # type: ignore[misc]
        def setup(self, config: dict[str, Any], **more: Any) -> None:
            _install_handler()
            super().setup(config, **more)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if not super().reset_config(new_config):  # the trial before, stopped early, still computes
                os._exit(1)  # if this returned False, Tune would give up the next trial and tell nobody
            return True

    Preemptible.__name__ = "trainable"
    return Preemptible


def _install_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def yield_soon(number: int, frame: FrameType | None) -> None:
        if not _busy.is_set() and callable(before):
            before(number, frame)
        interrupt.request_stop()
        timer = Timer(GRACE, os._exit, (1,))
        timer.daemon = True
        timer.start()

    if getattr(before, "__name__", "") != yield_soon.__name__:  # a process is set up once per trial
        signal.signal(signal.SIGTERM, yield_soon)
