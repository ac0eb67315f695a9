"""The command line in this process: what prints, or refuses, without starting anything need not import it all again."""

import sys
from collections.abc import Callable

import pytest

from cli import app as command_line

Command = Callable[..., str]
"""Takes the arguments of `launch.py` and gives what it printed."""


class Shell:
    """Runs `launch.py`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def _run(self, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        return int(stopped.value.code or 0), *self._capsys.readouterr()

    def works(self, *arguments: str) -> str:
        """What a command prints that succeeds."""
        code, out, err = self._run(arguments)
        assert (code, err) == (0, ""), out + err
        return out

    def refuses(self, *arguments: str) -> str:
        """The one line of a command that gives up."""
        code, out, err = self._run(arguments)
        assert (code, out) == (2, ""), out + err
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        return err
