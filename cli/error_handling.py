"""Error handling of every command: that of `basin.command_line`, signals, and no secrets in the log of a bug.

Arguments that Typer refuses are errors of one line too.
"""

import sys
from collections.abc import Callable
from functools import partial

import typer

from basin import command_line
from basin.errors import UsageError, one_of
from sweeps.execution.signals import Stopped

REFUSED = " is not one of "
"""Words of Typer between a value and the choices."""


def run_guarded(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; an error is one line on stderr."""
    return command_line.run_guarded(partial(_run_stoppable, command), _hide_secrets)


def run_app(app: typer.Typer) -> int | None:
    """Run the command that the command line names, and return its exit code.

    Raises UsageError for arguments that Typer refuses.
    """
    try:
        code = app(prog_name="launch.py", standalone_mode=False)
    except typer.TyperException as refused:
        raise UsageError(_describe_refusal(refused)) from None
    return code if isinstance(code, int) else None  # a command may return what it made


def _describe_refusal(refused: typer.TyperException) -> str:
    """Say in the words of our own errors what Typer says in its own; its classes differ by what they have."""
    ctx, param = getattr(refused, "ctx", None), getattr(refused, "param", None)
    more = f"; `{ctx.command_path} --help` lists the options" if ctx else ""
    if (option := getattr(refused, "option_name", None)) and hasattr(refused, "possibilities"):
        nearest = f": did you mean {refused.possibilities[0]}?" if refused.possibilities else ""
        return f"unknown option {option}{nearest}{more}"
    problems = getattr(refused.__cause__, "errors", None)
    if param is None or problems is None:
        words = refused.format_message().rstrip(".")
        return f"{words[:1].lower()}{words[1:]}{more}"
    option, problem = param.opts[0], problems()[0]
    value, words = problem["input"], problem["msg"].removeprefix("Value error, ").rstrip(".")
    if REFUSED in words:
        choices = words.partition(REFUSED)[2].replace("'", "").split(", ")
        return str(one_of(option.lstrip("-"), value, choices))
    return f"{option} {value}: {words.replace('Input should be', 'expected').partition(', unable')[0]}"


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
