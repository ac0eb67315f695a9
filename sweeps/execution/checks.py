"""Checks of a machine: each returns a line about what is in order, or raises UsageError with what to do."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from basin.errors import UsageError

GIGABYTE = 1e9
LEAST_FREE = 5 * GIGABYTE
"""Bytes that must be free in the folders of a sweep."""


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    passed: bool
    details: str


def run_checks(steps: Iterable[tuple[str, Callable[[], str]]]) -> list[Check]:
    """Run every check, also after one has failed."""
    return [_run_check(name, step) for name, step in steps]


def _run_check(name: str, step: Callable[[], str]) -> Check:
    try:
        return Check(name, True, step())
    except UsageError as problem:
        return Check(name, False, str(problem))


def check_gpus() -> str:
    """Name the GPUs that PyTorch sees."""
    names = ", ".join(_gpu_names())
    return f"{names}: use --gpus-per-trial" if names else "none: trials run on the CPU"


def check_counted_gpus(counted: float) -> str:
    """Compute on each GPU; raises UsageError if Ray gives trials more than PyTorch can use."""
    import torch

    names = _gpu_names()
    if counted > len(names):
        raise UsageError(
            f"Ray counts {counted:g} GPUs but PyTorch sees {len(names)}: "
            "check `nvidia-smi` and the driver there, and `--num-gpus` of `ray start`"
        )
    for index, name in enumerate(names):
        try:
            torch.ones(1, device=f"cuda:{index}").item()
        except RuntimeError as error:
            raise UsageError(f"GPU {index}, {name}, does not compute: {str(error).splitlines()[0]}") from error
    return ", ".join(names) or "no GPU"


def _gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def check_folder(folder: Path) -> str:
    """Check that a folder, or the nearest existing one above it, can be written and has room."""
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(f"{existing}: expected a folder to write to: {error.strerror}; choose another") from error
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE:
        raise UsageError(
            f"{existing}: expected {LEAST_FREE / GIGABYTE:.0f} GB free, found {free / GIGABYTE:.1f}; free some space"
        )
    return f"{folder}: {free / GIGABYTE:.0f} GB free"


def check_cache() -> str:
    """Check the folder of decoded datasets."""
    from basin.environment import default_cache

    return check_folder(default_cache())


def check_precision() -> str:
    """Say which precision=auto would be here, and why."""
    from basin.environment import Machine, Place
    from sweeps.execution.precision import describe_bfloat16

    return describe_bfloat16(Place(machine=Machine(), runs=Path()).torch_device)
