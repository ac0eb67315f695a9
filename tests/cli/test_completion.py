"""Completion in a shell: names of commands, studies, sweeps and trials."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.completion import complete_key, complete_sampler, complete_study, complete_sweep
from tests.support.shell import Command
from tests.support.tiny_sweep import ROOT

ASK = """
source <(./launch.py --show-completion bash)
complete -p launch.py >/dev/null || exit 3
COMP_WORDS=(./launch.py {words})
COMP_CWORD={at}
_launchpy_completion ./launch.py
echo "${{COMPREPLY[@]}}"
"""


class Typed:
    """What a shell knows of a command line so far."""

    def __init__(self, storage: Path) -> None:
        self.params = {"storage": storage}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    for name, keys in {"quick": ["a" * 16, "b" * 16], "quiet": ["c" * 16], "other": []}.items():
        (tmp_path / name / "tables/trials").mkdir(parents=True)
        (tmp_path / name / "sweep.json").touch()
        for key in keys:
            (tmp_path / name / "tables/trials" / f"{key}.parquet").touch()
    (tmp_path / "question").mkdir()  # no sweep
    return tmp_path


def test_sweeps_and_trials_of_the_storage(storage: Path) -> None:
    typed = Typed(storage)
    assert complete_sweep(typed, "qui") == ["quick", "quiet"]  # type: ignore[arg-type]
    assert complete_key(typed, "") == ["a" * 16, "b" * 16, "c" * 16]  # type: ignore[arg-type]
    assert complete_key(typed, "c") == ["c" * 16]  # type: ignore[arg-type]
    assert complete_sweep(Typed(storage / "none"), "") == []  # type: ignore[arg-type]


def test_studies_and_samplers() -> None:
    assert complete_study("quick") == ["quickstart"]
    assert complete_sampler("t") == ["tpe"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "expected"), [("bes", "best"), ("studies quick", "quickstart"), ("sweep paper --sampler n", "nsga2")]
)
def test_bash_completes(words: str, expected: str) -> None:
    script = ASK.format(words=words, at=len(words.split()))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [expected], done.stderr


def test_help_offers_to_install_completion(shell: Command) -> None:
    text = shell("-h")
    assert "--install-completion" in text
    assert "--show-completion" in text
