"""Error handling of a command line: one line for each error, a log file for bugs, exit codes.

0: done. 1: some trials or a check failed. 2: an error that the user can fix. 3: a bug of this program. It needs the
standard library only, for `python -m analysis`, which starts without PyTorch.
"""

import argparse
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from basin.errors import UsageError, one_of
from basin.system_errors import MEANINGS, describe_error

FIXABLE, BUG, INTERRUPTED = 2, 3, 130


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError for arguments that it refuses, where argparse prints its usage and exits."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments."""
        options, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            raise one_of("option", rest[0].partition("=")[0], self._option_string_actions)
        if rest:
            self.error(f"unexpected arguments: {' '.join(rest)}")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options")


def run_guarded(command: Callable[[], int | None], hide: Callable[[str], str] = str) -> int:
    """Run a command and return its exit code: what it returns, 0 for None. An error is one line on stderr.

    `hide` removes secrets from the log of a bug.
    """
    _prepare_output()
    code = _run_command(command, hide)
    try:
        sys.stdout.flush()
    except OSError as error:
        if code not in (FIXABLE, BUG):  # else the command has said so, or something else, in its line
            code = _refuse(f"cannot write the output: {error.strerror}")
        with suppress(OSError):  # Python would try again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _run_command(command: Callable[[], int | None], hide: Callable[[str], str]) -> int:
    try:
        return command() or 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except UsageError as problem:
        return _refuse(str(problem))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {*MEANINGS, errno.EBADF}:
            return _refuse(describe_error(error.errno, error.filename or "cannot write the output"))
        return _report_bug(error, hide)


def _refuse(words: str) -> int:
    say(f"error: {' '.join(words.split())}")
    return FIXABLE


def _report_bug(error: Exception, hide: Callable[[str], str]) -> int:
    """Write command line and traceback to a file, without secrets; return the exit code."""
    text = "".join(traceback.format_exception(error))
    where = "no file could be written"
    with suppress(OSError):
        handle, where = tempfile.mkstemp(prefix="single-basin-bug-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(hide(f"{' '.join(sys.argv)}\n{text}"))
    words = hide(" ".join(f"{type(error).__name__}: {error}".split())[:200])
    say(f"error: this is a bug of single-basin ({words}); please report it as CONTRIBUTING.md says, with {where}")
    return BUG


def say(line: str) -> None:
    """Print a line to stderr, if that can be written."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _prepare_output() -> None:
    """Replace characters that the output's encoding lacks by `?`; discard all output if it is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
