"""Cooperative preemption and heartbeat for training loops."""

from collections.abc import Callable
from threading import Event

_noticed = Event()
_listeners: list[Callable[[], None]] = []


class PreemptedError(Exception):
    """Training stopped between two steps on request; its state is stored."""


def request_stop() -> None:
    """Ask every training loop of this process to stop after the step it is in; safe in a signal handler."""
    _noticed.set()


def withdraw_request() -> None:
    """Cancel the request."""
    _noticed.clear()


def check_request() -> None:
    """Raise PreemptedError if a stop was requested; called between two steps."""
    if _noticed.is_set():
        raise PreemptedError("this process was asked to stop: the trial will continue from its checkpoint")


def listen_for_heartbeat(listener: Callable[[], None] | None) -> None:
    """Register the only function called at each heartbeat; None removes it."""
    _listeners[:] = [listener] if listener else []


def send_heartbeat() -> None:
    """Report that an epoch is done."""
    for listener in _listeners:
        listener()
