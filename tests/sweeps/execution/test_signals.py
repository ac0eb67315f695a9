"""Signals: noted at once, raised where nothing catches them, never taken for a bug or for the end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from basin.errors import UsageError
from sweeps.execution.signals import (
    GROUP,
    LAST_WORDS,
    STOPPING,
    HaltedError,
    Stopped,
    check_stop,
    postponed,
    stoppable,
    unheard_by_children,
)
from sweeps.execution.tuner import StopCheck


@pytest.fixture(autouse=True)
def kept_handlers() -> Iterator[None]:
    """Every test leaves the handlers as it found them, and finds SIGHUP unignored even if pytest runs under `nohup`."""
    given = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    assert {number: signal.getsignal(number) for number in STOPPING} == before
    signal.signal(signal.SIGHUP, given)


def strike(number: int) -> None:
    os.kill(os.getpid(), number)


def stopped_by(block: Callable[[], object]) -> int:
    """The signal that ended a block."""
    with pytest.raises(Stopped) as stopped, stoppable():
        block()
    return int(str(stopped.value.code)) - 128


@pytest.mark.parametrize("number", STOPPING)
def test_our_own_code_is_left_at_once(number: int) -> None:
    reached = []
    assert stopped_by(lambda: (strike(number), reached.append("never"))) == number
    assert not reached


@pytest.mark.parametrize("number", STOPPING)
def test_code_of_others_runs_on_to_the_next_safe_place(number: int) -> None:
    seen = []

    def block() -> None:
        with postponed():
            strike(number)
            strike(signal.SIGTERM)  # repeated by a scheduler
            seen.append("the block goes on")
        seen.append("never")

    assert stopped_by(block) == number
    assert seen == ["the block goes on"]


def test_a_signal_is_forgotten_with_its_block() -> None:
    """A process may run a sweep, be stopped, and run another."""
    stopped_by(lambda: strike(signal.SIGTERM))
    check_stop()
    with postponed():
        pass


def test_an_error_after_a_signal_is_its_consequence() -> None:
    """As when Ray's argument parser caught SystemExit and Tune raised a TuneError of it."""

    def caught() -> None:
        try:
            strike(signal.SIGTERM)
        except SystemExit as error:
            raise RuntimeError("a TuneError") from error

    def swallowed() -> None:
        with suppress(SystemExit):
            strike(signal.SIGTERM)

    assert stopped_by(caught) == stopped_by(swallowed) == signal.SIGTERM
    with pytest.raises(RuntimeError, match="on its own"), stoppable():
        raise RuntimeError("on its own")


def test_the_handler_of_ray_ends_the_launcher_as_ours_does() -> None:
    def block() -> None:
        with postponed():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            strike(signal.SIGTERM)

    assert stopped_by(block) == signal.SIGTERM
    with pytest.raises(HaltedError), stoppable(), postponed():
        raise HaltedError(UsageError("full"))


def test_the_loop_of_tune_takes_its_handlers_back_and_looks_at_each_step() -> None:
    """Tune's own handler for SIGUSR1 ends the loop as if every trial were done."""
    seen = []

    def block() -> None:
        with postponed():
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            StopCheck().on_step_begin(0, [])
            strike(signal.SIGUSR1)
            seen.append("the step goes on")
            StopCheck().on_step_begin(1, [])
            seen.append("never")

    assert stopped_by(block) == signal.SIGUSR1
    assert seen == ["the step goes on"]


def test_nohup_keeps_its_meaning() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            strike(signal.SIGHUP)
            check_stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_to_the_group_spares_children_and_is_not_lost() -> None:
    program = "import signal; print(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))))"
    printed = []

    def block() -> None:
        with postponed(), unheard_by_children():  # the thread that receives the signal may be another one
            strike(signal.SIGHUP)
            printed.append(subprocess.check_output([sys.executable, "-c", program], text=True))

    assert stopped_by(block) == signal.SIGHUP
    assert printed == [f"{sorted(map(int, GROUP))}\n"]


@pytest.mark.parametrize(("end", "lines"), [("pass", []), ("sys.exit(3)", []), ("os._exit(1)", [LAST_WORDS])])
def test_the_last_words_of_a_process_that_c_plus_plus_ends(end: str, lines: list[str]) -> None:
    program = f"import os, sys; from sweeps.execution.signals import last_words\nwith last_words(): {end}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == lines
    assert done.stdout == ""
