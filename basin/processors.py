"""CPUs that this process may use: a batch system binds it to some of them, a container limits their time."""

import os
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Folder of the control groups, and the file that names those of this process."""


def usable_cpus(root: Path = ROOT, own: Path = OWN) -> int:
    """Return the number of CPUs by affinity and by the limits of control groups, at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [_read_old_limit(root / "cpu"), *(_read_limit(folder / "cpu.max") for folder in _own_groups(root, own))]
    return max(1, min([bound, *(int(limit) for limit in limits if limit is not None)]))


def _own_groups(root: Path, own: Path) -> list[Path]:
    """Folders of the group of this process and of those that contain it, which may be limited too."""
    try:
        names = [line.partition("::")[2] for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        names = []
    group = root / (names[0].lstrip("/") if names else "")
    return [group, *(parent for parent in group.parents if parent == root or root in parent.parents)]


def _read_limit(file: Path) -> float | None:
    """CPUs that version 2 of control groups allows: `QUOTA PERIOD` in microseconds, or `max PERIOD`."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _read_old_limit(folder: Path) -> float | None:
    """The same for version 1, where −1 stands for no limit."""
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError):
        return None
