"""Where a result comes from: commit, versions."""

import importlib.metadata
import os
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")

COMMIT = "SINGLE_BASIN_COMMIT"
"""Environment variable that names the commit where the code has travelled without its history."""


@cache
def provenance() -> dict[str, str]:
    """Commit of the code, whether it was changed since, and the versions of what it stands on."""
    versions = {f"{name}_version": importlib.metadata.version(name) for name in PACKAGES}
    commit = _git("rev-parse", "HEAD") or os.environ.get(COMMIT, "unknown")
    return {"commit": commit, "dirty": _dirty(), **versions}


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
