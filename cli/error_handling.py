"""Error handling of every command: that of `basin.command_line`, signals, and no secrets in the log of a bug."""

import sys
from collections.abc import Callable
from functools import partial

from basin import command_line
from sweeps.execution.signals import Stopped


def run_guarded(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; an error is one line on stderr."""
    return command_line.run_guarded(partial(_run_stoppable, command), _hide_secrets)


def _run_stoppable(command: Callable[[], int | None]) -> int | None:
    try:
        return command()
    except Stopped as stopped:
        command_line.say("stopped: rerun the same command to continue")
        return int(str(stopped.code))


def _hide_secrets(text: str) -> str:
    """Hide the secrets of the addresses of this command line, and of the text itself."""
    from sweeps.storage.address import hide_secrets

    addresses = [word.partition("=")[2] if word.startswith("-") else word for word in sys.argv if "://" in word]
    return hide_secrets(text, *addresses)
