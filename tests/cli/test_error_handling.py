"""Errors that nobody foresaw, outputs that cannot be written: one line and an exit code, never a traceback."""

import errno
import importlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import __main__ as analysis_command
from basin.errors import UsageError
from cli import app as command_line
from cli import run
from cli.error_handling import run_guarded
from sweeps.execution.signals import Stopped
from sweeps.storage.store import Store
from tests.support import synthetic_results
from tests.support.shell import Command
from tests.support.tiny_sweep import ROOT, environment


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("two\nlines"), 2, "error: two lines\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/results/x"),
            2,
            "error: /results/x: no space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "error: /x: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: cannot write the output: no space"),
        (Stopped(15), 143, "stopped: rerun the same command"),
        (SystemExit(1), 1, ""),
        (SystemExit(None), 0, ""),
    ],
)
def test_one_line_and_a_code(error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(raising(error)) == code
    err = capsys.readouterr().err
    assert err.startswith(words)
    assert err.count("\n") == bool(words)


def test_a_bug_is_one_line_and_a_log_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri = "postgresql://u:s3cr/et@host/db"
    monkeypatch.setattr(sys, "argv", ["launch.py", "sync", "x", f"--tracking-uri={uri}"])
    assert run_guarded(raising(KeyError(f"no {uri} and s3cr/et"))) == 3
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = tmp_path.iterdir()
    assert "bug of single-basin (KeyError" in line
    assert line.endswith(f"please report it as CONTRIBUTING.md says, with {log}")
    text = log.read_text()
    assert "Traceback" in text
    assert "launch.py sync x" in text
    assert "s3cr" not in line + text
    assert log.stat().st_mode & 0o077 == 0


PROGRAMS = ("launch.py", "-m basin", "-m analysis")


def shell_run(program: str, rest: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """One of the command lines of this project in a shell, for instance with another output."""
    command = ["sh", "-c", f"exec {sys.executable} {program} {rest}"]
    return subprocess.run(command, cwd=ROOT, env=environment() | more, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_output_that_is_full_and_one_that_is_closed(program: str) -> None:
    full = shell_run(program, "--help >/dev/full")
    assert full.returncode == 2
    assert full.stderr.lower().startswith("error: cannot write the output: no space left on device")
    assert full.stderr.count("\n") == 1
    closed = shell_run(program, "--help >&-")
    assert (closed.returncode, closed.stderr) == (0, "")


MODULES = {"basin": ("_run_from_options", []), "analysis": ("read_tables", ["/nowhere"])}
"""Module that is a command line → its function that does the work, and arguments that it needs."""


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("two\nlines"), 2, "error: two lines\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "error: /x: no space left on device; free some"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), 2, "error: /x: not a directory"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyError("nobody foresaw"), 3, "error: this is a bug of single-basin (KeyError: 'nobody foresaw')"),
    ],
)
def test_modules_that_are_command_lines(
    module: str,
    error: BaseException,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program, (work, arguments) = importlib.import_module(f"{module}.__main__"), MODULES[module]

    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(program, work, fail)
    assert program.main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(words)
    assert printed.err.count("\n") == 1
    logs = list(tmp_path.glob("*.log"))
    assert len(logs) == (code == 3)
    assert all("Traceback" in log.read_text() and str(log) in printed.err for log in logs)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_analysis_where_the_output_is_not_utf_8(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, written = synthetic_results.sweep(tmp_path / "demo", {}, {"deep": 2, "constrained": 2}), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(analysis_command, "write_everything", lambda tables, *more: "“q̄ ≥ 0” is −1")
    assert analysis_command.main([str(results)]) == 0
    assert written.getvalue().decode(encoding).endswith("0? is ?1\n")


def test_analysis_starts_without_pytorch() -> None:
    done = shell_run("-c", "'import sys, analysis.__main__; print(*sys.modules)'")
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "analysis" in loaded
    assert not loaded & {"torch", "ray", "mlflow", "optuna"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_an_output_that_is_not_utf_8(encoding: str, finished: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["best"], ["best", "--x", "q_bar", "--y", "accuracy"], ["verify"]):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        arguments = [command[0], "quickstart", *command[1:], "--storage", str(finished.folder.parent)]
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        assert run_guarded(command_line.app) in (0, 1)
        assert len(written.getvalue().decode(encoding)) > 100


OPTIONS = [
    "--set",
    "--seed",
    "--seeds",
    "--trials",
    "--metric",
    "--margin",
    "--constraint",
    "--also",
    "--search",
    "--sampler",
]
OPTIONS += ["--scheduler", "--replicates", "--cpus-per-trial", "--gpus-per-trial", "--concurrency", "--name"]
OPTIONS += ["--storage", "--tracking-uri", "--deadline", "--schedule", "--reference", "--data", "--address"]
WORDS = ["0", "1", "-1", "1e400", "nan", "inf", "4294967296", "", "~"]
WORDS += ["lr=nan", "lr=1", "epochs=1e9", "t=0.5", "seed=1"]
WORDS += ["deep", "tpe", "asha", "nll", "q_bar >= 1.2.3", "ece <= 5", "lr", "x" * 300, "ray://", "http://a:b@c", "a/b"]
values = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(st.sampled_from(OPTIONS), values), max_size=4))
def test_command_lines_give_results_or_one_line(pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    """Everything up to the run itself."""
    arguments = [part for pair in pairs for part in pair]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_run_sweep", lambda study, options, **display: None)
        patch.setattr(sys, "argv", ["launch.py", "sweep", "quickstart", *arguments])
        patch.chdir(tmp_path)
        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = run_guarded(command_line.app)
    check(code, out.getvalue(), err.getvalue())
    assert not list(tmp_path.iterdir())


def check(code: int, out: str, err: str) -> None:
    """A command either did what it was told or said in a line why not."""
    assert code in (0, 2), err
    assert out == ""
    assert "Traceback" not in err
    if code and not err.startswith("Usage: "):  # the parser's own box
        assert err.startswith("error: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--storage", "--data", "--cache"])
def test_the_home_folder_is_expanded(
    option: str, shell: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    monkeypatch.setattr(run, "_run_sweep", lambda study, options, **display: seen.append(options))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    shell("sweep", "cifar10-small", option, "~/mine")
    (options,) = seen
    assert getattr(options, option.removeprefix("--")) == tmp_path / "mine"
