"""SIGTERM and SIGINT in the launcher: it stops cleanly, and the same command goes on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from basin.errors import UsageError


class Stopped(SystemExit):
    """The launcher was asked to stop; its code is the shell's for the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class HaltedError(SystemExit):
    """A UsageError on its way through Tune, which takes exceptions of callbacks for failures of trials."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(2)
        self.error = error


@contextmanager
def halting() -> Iterator[None]:
    """What the user must mend ends the sweep, wherever in Tune it is met."""
    try:
        yield
    except UsageError as error:
        raise HaltedError(error) from error


@contextmanager
def stoppable() -> Iterator[None]:
    """The two signals raise Stopped in the main thread, in place of what Ray and Tune make of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in kept:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a scheduler may send it to the whole group, and again
    raise Stopped(number)
