"""Where a result comes from: commit, versions."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from basin.errors import UsageError

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")

COMMIT = "SINGLE_BASIN_COMMIT"
"""Environment variable that names the commit where the code has travelled without its history."""


@cache
def provenance() -> dict[str, str]:
    """Commit of the code, whether it was changed since, and the versions of what it stands on."""
    commit = _git("rev-parse", "HEAD") or os.environ.get(COMMIT, "unknown")
    return {"commit": commit, "dirty": _dirty(), **_versions()}


def same_environment(facts: Mapping[str, str]) -> None:
    """Raise UsageError where this machine has other packages than the one whose `facts` these are."""
    here = _versions()
    for name in PACKAGES:
        column = f"{name}_version"
        if column in facts and facts[column] != here[column]:
            raise UsageError(
                f"{platform.node()} has {name} {here[column]}, the sweep was launched with {facts[column]}: expected "
                "one environment on every node; set it up from uv.lock there (`ray up` again, or `make env`)"
            )


@cache
def _versions() -> dict[str, str]:
    return {f"{name}_version": importlib.metadata.version(name) for name in PACKAGES}


def _dirty() -> str:
    status = _git("status", "--porcelain")
    return "unknown" if status is None else str(bool(status)).lower()


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
