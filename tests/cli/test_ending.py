"""The end of a sweep: the user's command, whose failure changes nothing, and the commands to run next."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from cli import app as command_line
from cli.ending import ending_announced, next_commands
from sweeps.execution.options import Options
from sweeps.execution.signals import stoppable
from sweeps.storage.store import Store
from sweeps.sweep import Report
from tests.support.tiny_sweep import sweep_arguments

FACTS = """
import os, sys
facts = [os.environ[f"SINGLE_BASIN_{name}"] for name in ("SWEEP", "STATUS", "RESULTS")]
print(*facts, file=open(sys.argv[1], "a"))
"""


def noting(file: Path) -> str:
    """A shell command that appends its facts to a file."""
    return shlex.join([sys.executable, "-c", FACTS, str(file)])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A command of `launch.py` whose sweep is a function, and what it and its processes print."""

    def run(sweep: Callable[..., Any], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sweeps.sweep.sweep", sweep)
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def done(study: object, options: Options, display: object) -> Report:
    return Report(Store(options.storage / options.name), 3, [], None)


def with_failures(study: object, options: Options, display: object) -> Report:
    return Report(Store(options.storage / options.name), 3, ["out of memory"], None)


def refused(study: object, options: Options, display: object) -> Report:
    raise UsageError("no trial finished")


def stopped(study: object, options: Options, display: object) -> Report:
    with stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError


def interrupted(study: object, options: Options, display: object) -> Report:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("sweep", "status", "code"),
    [
        (done, "done", 0),
        (with_failures, "failed", 1),
        (refused, "failed", 2),
        (stopped, "stopped", 128 + signal.SIGTERM),
        (interrupted, "stopped", 130),
    ],
)
def test_the_command_learns_how_the_sweep_ended(
    sweep: Any, status: str, code: int, command: Any, tmp_path: Path, image_cache: Path
) -> None:
    arguments = sweep_arguments(tmp_path, image_cache, "--name", "mine", "--on-end", noting(tmp_path / "facts"))
    assert command(sweep, *arguments)[0] == code
    assert (tmp_path / "facts").read_text() == f"mine {status} {tmp_path / 'mine'}\n"


@pytest.mark.parametrize("sweep", [done, refused])
def test_a_command_that_fails_is_one_line_and_changes_no_exit_code(
    sweep: Any, command: Any, tmp_path: Path, image_cache: Path
) -> None:
    arguments = sweep_arguments(tmp_path, image_cache)
    without, _, before = command(sweep, *arguments)
    code, out, err = command(sweep, *arguments, "--on-end", "echo words; exit 3")
    assert code == without
    assert "words" not in out  # stdout has the sweep's own lines only
    assert set(err.splitlines()) - set(before.splitlines()) == {
        "words",
        "--on-end failed: `echo words; exit 3` ended with exit code 3",
    }


def test_nothing_is_run_without_a_command(tmp_path: Path) -> None:
    with ending_announced(None, "mine", str(tmp_path)):
        pass


def test_the_last_line_names_the_next_commands(command: Any, tmp_path: Path, image_cache: Path) -> None:
    _, out, _ = command(done, *sweep_arguments(tmp_path, image_cache, "--quiet"))
    storage = f" --storage {tmp_path}"
    assert out.splitlines()[-1] == f"next: launch.py best quickstart{storage}, launch.py report quickstart{storage}"


def test_next_commands_have_the_options_of_the_sweep_and_no_password(image_cache: Path) -> None:
    from basin.environment import Machine

    options = Options(name="mine", storage=Path("results"), machine=Machine(device="cpu"))
    assert next_commands(options) == "next: launch.py best mine, launch.py report mine"
    spaced = Options(
        name="mine", storage=Path("my results"), machine=Machine(device="cpu"), tracking_uri="http://a:b@c"
    )
    assert next_commands(spaced) == (
        "next: launch.py best mine --storage 'my results' --tracking-uri http://***@c, "
        "launch.py report mine --storage 'my results'"
    )
