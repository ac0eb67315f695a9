"""Errors of the operating system: one line with the place, the words and the meaning, in whatever they are wrapped."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from basin.system_errors import MEANINGS, storage_errors_reported
from cli.error_handling import run_guarded
from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Store

FILE = "/results/x/tables/trials/k.parquet"


def handed_on(number: int, words: str) -> dict[str, Exception]:
    """One error as Python, Tune, pyarrow and a library in Rust hand it on."""
    system = OSError(number, words, FILE)
    wrapped = RuntimeError("TuneError")
    wrapped.__cause__ = system
    return {
        "itself": system,
        "a cause": wrapped,
        "Tune's text": RuntimeError(f"Traceback (most recent call last):\n  …\n{type(system).__name__}: {system}\n"),
        "pyarrow": OSError(f"[Errno {number}] Error writing bytes to file. Detail: [errno {number}] {words}"),
        "Rust": RuntimeError(f'Error while serializing: I/O error: Os {{ code: {number}, message: "{words}" }}'),
    }


@pytest.mark.parametrize("way", handed_on(errno.EDQUOT, ""))
@pytest.mark.parametrize("number", MEANINGS)
def test_one_line_with_its_meaning(number: int, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = os.strerror(number)

    def command() -> None:
        with storage_errors_reported(tmp_path):
            raise handed_on(number, words)[way]

    assert run_guarded(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    place = str(tmp_path) if way in ("pyarrow", "Rust") else FILE
    assert line.lower() == f"error: {place}: {words}; {MEANINGS[number]}, and rerun the command".lower()


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    for error in (KeyError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), UsageError("mine")):
        with pytest.raises(type(error)) as raised, storage_errors_reported(tmp_path):
            raise error
        assert raised.value is error


@pytest.mark.timeout(20)
def test_an_error_that_is_its_own_cause(tmp_path: Path) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(ValueError, match="first"), storage_errors_reported(tmp_path):
        raise first


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ESTALE, errno.EIO, errno.EINVAL])
def test_a_file_system_without_locks_is_not_another_launcher(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError) as refused, locked_folder(Store(tmp_path / "sweep")):
        pass
    line = str(refused.value)
    assert line.startswith(f"--storage {tmp_path}: cannot be locked: {os.strerror(number).lower()}; ")
    assert "another launcher" not in line
    assert ("-o flock" in line) == (number in (errno.ENOSYS, errno.ENOLCK))


def test_a_lock_that_is_held_is_another_launcher(tmp_path: Path) -> None:
    store = Store(tmp_path / "sweep")
    with locked_folder(store), pytest.raises(UsageError, match="another launcher"), locked_folder(store):
        pass
