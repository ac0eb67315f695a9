"""The machine's limit: matrix products in float32 and bfloat16 by size, and a large copy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated

import torch

from basin.spec import Bounds, Checked
from benchmarks.machine import COPIED, SIZES, describe_machine, measure_limit
from benchmarks.options import Options
from benchmarks.report import Report, compare_timings
from benchmarks.timing import time_interleaved


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of the matrices."""

    side: Annotated[int | None, Bounds(1)] = None
    """Side of the matrices (none: the sides that the limit is taken from)."""


def run(options: Options) -> Report:
    """Compare each size with the best one."""
    settings, device = options.settle(Settings()), options.device
    sides = (settings.side,) if settings.side else SIZES[device.type]
    products = {
        f"{str(dtype).removeprefix('torch.')} {side}": _product_contestant(side, device, dtype)
        for dtype, side in product((torch.float32, torch.bfloat16), sides)
    }
    reference, limit = next(iter(products)), measure_limit(device)
    limits = {name: limit.bfloat16 if name.startswith("b") else limit.float32 for name in products}
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    copy = {"copy": partial(_copy_tensor, source, torch.empty_like(source))}
    tables = (
        compare_timings(
            "matrix products",
            time_interleaved(products, repeats=options.repeats),
            unit="FLOP",
            reference=reference,
            limits=limits,
        ),
        compare_timings(
            "memory",
            time_interleaved(copy, repeats=options.repeats),
            unit="B",
            reference="copy",
            limits={"copy": limit.bandwidth},
        ),
    )
    return Report("machine-limit", describe_machine(device), tables, limit=limit)


def _product_contestant(side: int, device: torch.device, dtype: torch.dtype) -> Callable[[], float]:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)

    def product() -> float:
        torch.mm(left, right, out=out)
        return 2 * side**3

    return product


def _copy_tensor(source: torch.Tensor, target: torch.Tensor) -> float:
    target.copy_(source)
    return 2 * source.numel()
