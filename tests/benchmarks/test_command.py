"""The runner: what it lists, and what the user must mend."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import list_benchmarks, main
from benchmarks.options import Options

ROOT = Path(__file__).resolve().parents[2]


def test_every_benchmark_is_listed_with_what_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_benchmarks())
    for name, summary in list_benchmarks().items():
        assert summary.endswith(".")
        assert any(line.startswith(name) and line.endswith(summary) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "unknown benchmark 'nonsense': expected one of"),
        (["machine-limit", "--repeats", "0"], "--repeats 0: expected 1 or more"),
        (["machine-limit", "--data", "/nowhere"], "--data /nowhere: expected a file or a folder"),
        (["machine-limit", "--set", "size"], "--set size: expected field=value"),
        (["machine-limit", "--threads", "0"], "threads=0: expected an integer of 1 or more"),
        (["machine-limit", "--set", "size=3"], "unknown field 'size'"),
    ],
)
def test_errors_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_the_runner_needs_no_sweep() -> None:
    """What runs a benchmark, and what it is made of, loads on a machine that has PyTorch only."""
    program = (
        "import sys, benchmarks.__main__, benchmarks.machine, benchmarks.timing; "
        "print({'ray', 'mlflow', 'optuna', 'pyarrow', 'sweeps'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_options_have_defaults_that_are_measurements() -> None:
    assert Options().repeats >= 5
    assert json.dumps(str(Options().device)) == '"cpu"'


def test_the_session_on_a_gpu_fits_its_time_and_names_benchmarks_and_their_settings() -> None:
    """It has one try, on a borrowed machine: a misspelt option must not be found there."""
    script = (ROOT / "benchmarks/gpu_session.sh").read_text(encoding="utf-8")
    calls = [line.split()[1:] for line in script.splitlines() if line.startswith("measure ")]
    assert calls
    assert sum(int(seconds) for _, seconds, *_ in calls) <= 14 * 60
    assert len({file for file, *_ in calls}) == len(calls)
    for _, _, name, *options in calls:
        module = importlib.import_module(f"benchmarks.{name}")
        changes = dict(one.split("=") for one in options if "=" in one)
        for field, value in (module.QUICK | changes).items():
            assert field in {known.name for known in dataclasses.fields(module.Settings)}, (name, field, value)
        assert {one for one in options if one.startswith("--")} <= {"--set", "--repeats"}


@pytest.mark.parametrize("name", ["train", "paths", "kernels", "constrained", "distill"])
def test_benchmarks_of_ensembles_have_a_small_size(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--quick", "--device", "cpu", "--threads", "1", "--repeats", "1"]) == 0
    assert name in capsys.readouterr().out.splitlines()[0]
