"""The set-up of `.venv`, by the Makefile and `.ci/setup`, with a uv that only records its command lines."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

UV = """#!/bin/sh
mkdir -p .venv
echo "$@" >> "$LOG"
"""


class Clone:
    """The files of a clone that set up its environment."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.log = folder / "clone", folder / "log"
        for name in ("Makefile", "pyproject.toml", "uv.lock", ".ci/setup"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, self.folder / name)
        (folder / "bin").mkdir()
        (folder / "bin/uv").write_text(UV)
        (folder / "bin/uv").chmod(0o755)
        names = ("TORCH", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
        given = {name: value for name, value in os.environ.items() if name not in names}
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = given | {"PATH": path, "LOG": str(self.log), "PYTHON": sys.executable}

    def make(self, *words: str, fails: bool = False) -> list[list[str]]:
        """Command lines of uv that `make` runs."""
        self.log.write_text("")
        done = subprocess.run(["make", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stderr
        self.printed = done.stderr
        return [shlex.split(line) for line in self.log.read_text().splitlines() if line != "cache dir"]


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Clone:
    return Clone(root, tmp_path)


def test_users_get_no_test_packages_and_tests_keep_theirs(clone: Clone) -> None:
    (command,) = clone.make("env")
    assert {"sync", "--frozen", "--no-dev"} <= set(command)
    assert clone.make("env") == []
    (command,) = clone.make("env-dev")
    assert "--no-dev" not in command
    assert clone.make("env", "env-dev") == []
    later = (clone.folder / ".venv/.ready-dev").stat().st_mtime + 10
    os.utime(clone.folder / "uv.lock", (later, later))
    assert "--no-dev" not in clone.make("env")[0]


def test_tests_set_everything_up_in_a_fresh_clone(clone: Clone) -> None:
    (command,) = clone.make("env-dev")
    assert "--no-dev" not in command
    assert clone.make("env") == []
    for target in ("test", "test-all", "check", "drill"):
        (clone.folder / ".venv/.ready-dev").unlink(missing_ok=True)
        planned = subprocess.run(
            ["make", "-n", target], cwd=clone.folder, env=clone.environment, capture_output=True, text=True, check=True
        )
        assert planned.stdout.splitlines()[0] == "sh .ci/setup", target


def test_the_documentation_has_an_environment_of_its_own(clone: Clone) -> None:
    (command,) = clone.make("docs", fails=True)  # there is nothing that it could build
    assert command[command.index("--only-group") + 1] == "docs"
    assert "--frozen" in command
    assert "build/docs-env" in clone.printed


def test_pytorch_without_cuda_is_chosen_once(clone: Clone) -> None:
    packages = tomllib.loads((clone.folder / "uv.lock").read_text())["package"]
    versions = {package["name"]: package["version"] for package in packages}
    sync, install = clone.make("env", "TORCH=cpu")
    left_out = {sync[i + 1] for i, word in enumerate(sync) if word == "--no-install-package"}
    assert left_out >= {"torch", "torchvision", "triton", "nvidia-cublas"}
    assert left_out == {name for name in versions if name in ("torch", "torchvision", "triton") or is_cuda(name)}
    assert install[-4:] == ["--torch-backend", "cpu", *(f"{n}=={versions[n]}" for n in ("torch", "torchvision"))]
    (clone.folder / f".venv/lib/python3.11/site-packages/torch-{versions['torch']}+cpu.dist-info").mkdir(parents=True)
    sync, again = clone.make("env-dev")
    assert "--inexact" in sync  # an exact one would remove torch
    assert again == install


def is_cuda(name: str) -> bool:
    """Whether a locked package belongs to CUDA."""
    return name.startswith(("nvidia-", "cuda-"))


def test_another_pytorch_is_refused(clone: Clone) -> None:
    assert clone.make("env", "TORCH=rocm", fails=True) == []
    assert "TORCH=rocm: expected cpu" in clone.printed
