"""What must be in order before a sweep, checked one by one."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from basin.errors import UsageError
from basin.place import default_cache
from sweeps.database import shown
from sweeps.provenance import provenance
from sweeps.tracking import connect, default_uri

GIGABYTE = 1e9
LEAST_FREE = 5 * GIGABYTE


@dataclass(frozen=True)
class Check:
    """One finding."""

    what: str
    fine: bool
    words: str


def check_all(storage: Path, tracking_uri: str | None, address: str) -> list[Check]:
    """Every check; none of them leaves anything behind."""
    steps: dict[str, Callable[[], str]] = {
        "packages": _packages,
        "gpu": _gpu,
        "storage": lambda: _writable(storage),
        "cache": lambda: _writable(default_cache()),
        "tracking": lambda: _tracking(storage, tracking_uri),
        "ray": lambda: _ray(address),
    }
    return [_check(what, step) for what, step in steps.items()]


def _check(what: str, step: Callable[[], str]) -> Check:
    try:
        return Check(what, True, step())
    except UsageError as problem:
        return Check(what, False, str(problem))


def _packages() -> str:
    facts = provenance()
    versions = ", ".join(
        f"{name.removesuffix('_version')} {v}" for name, v in facts.items() if name.endswith("_version")
    )
    return f"Python {sys.version.split()[0]}, {versions}"


def _gpu() -> str:
    import torch

    count = torch.cuda.device_count()
    if not count:
        return "none: trials run on the CPU"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(count)) + ": use --gpus-per-trial"


def _writable(folder: Path) -> str:
    there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(f"{there}: expected a folder to write to: {error.strerror}; choose another") from error
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        raise UsageError(f"{there}: expected {LEAST_FREE / GIGABYTE:.0f} GB free, found {free / GIGABYTE:.1f}")
    return f"{folder}: {free / GIGABYTE:.0f} GB free"


def _tracking(storage: Path, uri: str | None) -> str:
    if uri is None and not (storage / "mlflow.db").exists():
        return f"{default_uri(storage)}: will be made"
    connect(uri or default_uri(storage))
    return f"{shown(uri or default_uri(storage))} answers"


def _ray(address: str) -> str:
    import logging

    import ray

    from sweeps.tuning import knock

    try:
        knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        resources = ray.cluster_resources()
        return f"{len(ray.nodes())} node(s), {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    except Exception as error:  # Ray raises kinds of its own, depending on how the address was given
        words = str(error).strip().splitlines()[0]
        raise UsageError(f"{address}: expected a Ray cluster that answers: {words}; see `ray status`") from error
    finally:
        ray.shutdown()
