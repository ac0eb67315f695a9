"""The machine's own limit: matrix products in float32 and bfloat16 by size, and a large copy, beside each other."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch

from basin.spec import Bounds, check
from benchmarks.machine import COPIED, SIZES, describe, measure
from benchmarks.options import Options
from benchmarks.report import Report, compare
from benchmarks.timing import interleaved


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is multiplied."""

    side: Annotated[int | None, Bounds(1)] = None
    """Side of the matrices (none: the sides that the limit is taken from)."""

    def __post_init__(self) -> None:
        check(self)


def run(options: Options) -> Report:
    """Each size beside the best one."""
    settings, device = options.settle(Settings()), options.device
    sides = (settings.side,) if settings.side else SIZES[device.type]
    products = {
        f"{str(dtype).removeprefix('torch.')} {side}": _product(side, device, dtype)
        for dtype in (torch.float32, torch.bfloat16)
        for side in sides
    }
    reference, limit = next(iter(products)), measure(device)
    limits = {name: limit.bfloat16 if name.startswith("b") else limit.float32 for name in products}
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    copy = {"copy": partial(_copy, source, torch.empty_like(source))}
    tables = (
        compare(
            "matrix products",
            interleaved(products, repeats=options.repeats),
            unit="FLOP",
            reference=reference,
            limits=limits,
        ),
        compare(
            "memory",
            interleaved(copy, repeats=options.repeats),
            unit="B",
            reference="copy",
            limits={"copy": limit.bandwidth},
        ),
    )
    return Report("machine-limit", describe(device), tables, limit=limit)


def _product(side: int, device: torch.device, dtype: torch.dtype) -> Callable[[], float]:
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)

    def product() -> float:
        torch.mm(left, right, out=out)
        return 2 * side**3

    return product


def _copy(source: torch.Tensor, target: torch.Tensor) -> float:
    target.copy_(source)
    return 2 * source.numel()
