"""Signals that end the launcher: it stops cleanly, and the same command continues.

A handler notes the signal. Our own code is left at once; code of Ray and Tune, which catches what is raised in it, runs
on to the next place where the note is looked at.
"""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from basin.errors import UsageError

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Asked to end, Ctrl-C, a lost terminal, and SLURM's note that the time is nearly over (`--signal=USR1@120`)."""
GROUP = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that reach every process of a terminal or job, and would kill Ray's before the launcher can end them."""
LAST_WORDS = "stopped: the launcher or a process of Ray was killed; rerun the same command to continue"


class Stopped(SystemExit):
    """The launcher received a signal; its exit code is the shell's for that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class HaltedError(SystemExit):
    """Carries a UsageError through Tune, which treats exceptions in callbacks as failed trials."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(2)
        self.error = error


@dataclass
class _Received:
    """The first of these signals in this process, and how many blocks postpone it."""

    number: int | None = None
    postponing: int = 0


_received = _Received()


@contextmanager
def halting() -> Iterator[None]:
    """Let a UsageError end the sweep, wherever in Tune it is raised."""
    try:
        yield
    except UsageError as error:
        raise HaltedError(error) from error


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped on these signals in the main thread; an error after one is taken for its consequence."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in STOPPING}
    _received.number = None
    catch_signals()
    try:
        yield
        check_stop()
    except Exception as error:
        if _received.number is not None:
            raise Stopped(_received.number) from error
        raise
    finally:
        _received.number = None
        for number, handler in kept.items():
            signal.signal(number, handler)


def catch_signals() -> None:
    """Install our handlers, again after Ray or Tune has installed its own; `nohup` keeps SIGHUP ignored."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _note_signal)


def check_stop() -> None:
    """Raise Stopped if a signal has come."""
    if _received.number is not None:
        raise Stopped(_received.number)


@contextmanager
def postponed() -> Iterator[None]:
    """Run code that may not be left anywhere: a signal is only noted, and raised by `check_stop` or at the end."""
    _received.postponing += 1
    try:
        yield
    except SystemExit as ended:
        if type(ended) is SystemExit:  # from Ray's handler, before ours was installed again
            _received.number = signal.SIGTERM
            raise Stopped(signal.SIGTERM) from ended
        raise
    finally:
        _received.postponing -= 1
    check_stop()


def _note_signal(number: int, frame: FrameType | None) -> None:
    if _received.number is not None:  # a scheduler may repeat it, and send it to the whole process group
        return
    _received.number = number
    if not _received.postponing:
        raise Stopped(number)


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Start processes that do not hear signals to the whole group; here these come at the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def last_words() -> Iterator[None]:
    """Print a line if this process is lost in the block: Ray's C++ ends it when its raylet or GCS is lost."""
    program = f"trap '' INT TERM HUP USR1; read line || echo '{LAST_WORDS}' >&2"
    with subprocess.Popen(["/bin/sh", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as shell:
        try:
            yield
        finally:
            with suppress(OSError):
                shell.communicate(b"\n")
