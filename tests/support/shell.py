"""The command line in this process: what starts no processes of its own need not import everything again."""

import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from unittest.mock import patch

import pytest

from cli import app as command_line

Command = Callable[..., str]
"""Takes the arguments of `launch.py` and gives what it printed."""


def run_here(*arguments: str) -> tuple[int, str, str]:
    """`launch.py` with these arguments: its exit code, its output, and its messages."""
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        patch.object(sys, "argv", ["launch.py", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        command_line.main()
    printed, said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return int(stopped.value.code or 0), printed, said


def works_here(*arguments: str) -> str:
    """What a command prints that succeeds."""
    code, out, err = run_here(*arguments)
    assert (code, err) == (0, ""), out + err
    return out


def refused_here(*arguments: str) -> str:
    """The one line of a command that gives up."""
    code, out, err = run_here(*arguments)
    assert (code, out) == (2, ""), out + err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    return err
