"""The science of single-basin: ensembles as stacks of networks, their training, connectivity and quality.

The names of `__all__` are the library for networks of one's own (docs/library.md). Each is imported at its first use,
so that `import basin` needs no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basin.api.alignment import Aligned, align, soup
    from basin.api.comparison import barrier, compare, interpolate, plane
    from basin.api.datasets import dataset
    from basin.api.results import BarrierMatrix, BasinVerdict, Comparison, Path, PathBarrier, PlaneGrid, Scores, Soup
    from basin.api.training import Trained, distill, train
    from basin.errors import UsageError
    from basin.loaded import load

__all__ = [
    "Aligned",
    "BarrierMatrix",
    "BasinVerdict",
    "Comparison",
    "Path",
    "PathBarrier",
    "PlaneGrid",
    "Scores",
    "Soup",
    "Trained",
    "UsageError",
    "align",
    "barrier",
    "compare",
    "dataset",
    "distill",
    "interpolate",
    "load",
    "plane",
    "soup",
    "train",
]
_HOMES = {
    "basin.api.alignment": ("Aligned", "align", "soup"),
    "basin.api.comparison": ("barrier", "compare", "interpolate", "plane"),
    "basin.api.datasets": ("dataset",),
    "basin.api.training": ("Trained", "distill", "train"),
    "basin.errors": ("UsageError",),
    "basin.loaded": ("load",),
}
"""Module → names that it gives to `basin`; `basin.api.results` gives the others of `__all__`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "basin.api.results")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
