"""What those who run a training loop and the loop tell each other: that it must stop soon, and that it is alive."""

from collections.abc import Callable
from threading import Event

_noticed = Event()
_listeners: list[Callable[[], None]] = []


class PreemptedError(Exception):
    """The process must go: training has stopped between two steps, and its state is kept."""


def notice() -> None:
    """Ask every training loop of this process to stop after the step it is in; safe in a signal handler."""
    _noticed.set()


def withdraw() -> None:
    """Take the notice back."""
    _noticed.clear()


def check() -> None:
    """Raise PreemptedError if there was notice; called between two steps."""
    if _noticed.is_set():
        raise PreemptedError("this process was asked to stop: the trial goes on from its checkpoint")


def listen(listener: Callable[[], None] | None) -> None:
    """Call `listener` at each sign of life from now on, and nobody else; None calls nobody."""
    _listeners[:] = [listener] if listener else []


def alive() -> None:
    """A sign of life: an epoch is done."""
    for listener in _listeners:
        listener()
