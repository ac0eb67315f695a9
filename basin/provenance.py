"""Provenance of results: commit, sources and package versions of this process."""

import importlib.metadata
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from basin.plugins import describe_plugins, hash_files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")

SOURCES = ("basin", "stats", "sweeps")
"""Packages whose code acts on a trial."""

COMMIT = "SINGLE_BASIN_COMMIT"
"""Environment variable with the commit, for code without its Git history."""


def collect_provenance() -> dict[str, str]:
    """Commit of the code, whether it has uncommitted changes, a hash of its sources, plugins, and package versions."""
    plugins = describe_plugins()
    return {**_code_provenance(), **({"plugins": plugins} if plugins else {})}


@cache
def _code_provenance() -> dict[str, str]:
    commit = _run_git("rev-parse", "HEAD") or os.environ.get(COMMIT, "unknown")
    return {"commit": commit, "dirty": _is_dirty(), "sources": hash_sources(), **package_versions()}


@cache
def hash_sources(root: Path = ROOT) -> str:
    """16 hex digits of the SHA-256 of the code that this process runs, without the commands and the analysis."""
    files: list[Path] = []
    for package in SOURCES:
        files += sorted((root / package).rglob("*.py"))
    return hash_files(root, files)


@cache
def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Version of each package that is installed, by the name of its column."""
    versions = {}
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[f"{name}_version"] = importlib.metadata.version(name)
    return versions


def _is_dirty() -> str:
    status = _run_git("status", "--porcelain")
    return "unknown" if status is None else str(bool(status)).lower()


def _run_git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
