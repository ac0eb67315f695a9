"""Measure the machine's limit: FLOP/s of matrix products and bytes/s of copies."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from basin.training.execution_mode import fastest_time

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}
"""Sides of the square matrices, ascending; the fastest counts."""
SLOW = 0.5
"""Seconds of one product above which larger ones are not tried: bfloat16 takes minutes on processors without it."""
COPIED = {"cpu": 1 << 28, "cuda": 1 << 31}
"""Bytes of the copy: more than any cache holds."""
TRIES = 5
"""The fastest counts: a limit is what is possible."""


@dataclass(frozen=True)
class Limit:
    """Peak rates of one device, with torch's current number of threads."""

    float32: float
    """FLOP/s of a float32 matrix product (2·n³ FLOP), at torch's own setting of float32 precision."""
    bfloat16: float
    """FLOP/s of a bfloat16 matrix product."""
    bandwidth: float
    """Bytes/s of a large copy, read and written bytes both counted."""

    def seconds(self, *, flops: float = 0, moved: float = 0, dtype: torch.dtype = torch.float32) -> float:
        """The least time for so many FLOP and bytes: the slower of the two, for they can overlap."""
        rate = self.bfloat16 if dtype is torch.bfloat16 else self.float32
        return max(flops / rate, moved / self.bandwidth)


def measure_limit(device: torch.device) -> Limit:
    """The limit of a device; takes seconds on a CPU."""
    return Limit(
        _best_product_rate(device, torch.float32), _best_product_rate(device, torch.bfloat16), _copy_rate(device)
    )


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Facts for a report: date, commit, processor, threads, versions, GPU."""
    facts: dict[str, str | int] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _current_commit(),
        "device": device.type,
        "cpu": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _best_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    best = 0.0
    for size in SIZES[device.type]:
        seconds = _product_seconds(size, device, dtype)
        best = max(best, 2 * size**3 / seconds)
        if seconds > SLOW:
            break
    return best


def _product_seconds(size: int, device: torch.device, dtype: torch.dtype) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    return fastest_time(lambda: torch.mm(left, right, out=out), device, TRIES)


def _copy_rate(device: torch.device) -> float:
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / fastest_time(lambda: target.copy_(source), device, TRIES)


def _processor_name() -> str:
    """The processor's own name, which `platform` does not know on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _current_commit() -> str:
    """The commit that is checked out, with a + if files differ from it."""
    try:
        commit, status = (
            subprocess.run(
                ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "+" * bool(status)
