"""Numbers of an ensemble's predictions: one function each, with its unit and direction."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

Compute = Callable[[Float[Tensor, "M N C"], Int[Tensor, " N"]], float]
"""(log-probabilities of M members on N images, labels) → the number."""


@dataclass(frozen=True)
class Metric:
    """A number, what it is measured in, and which way is better."""

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    doc: str
    compute: Compute


_METRICS: dict[str, Metric] = {}


def metric(*, unit: str, better: Literal["higher", "lower", "neither"]) -> Callable[[Compute], Compute]:
    """Register a function as the metric of its name."""

    def add(function: Compute) -> Compute:
        name = function.__name__
        assert name not in _METRICS, f"two metrics {name!r}"
        doc = (function.__doc__ or "").partition("\n")[0]
        _METRICS[name] = Metric(name, unit, better, doc, function)
        return function

    return add


def metrics() -> dict[str, Metric]:
    """Every metric by its name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_METRICS.items()))


def score(log_probs: Float[Tensor, "M N C"], labels: Int[Tensor, " N"]) -> dict[str, float]:
    """All metrics of an ensemble, computed in float64."""
    wide = log_probs.double()
    return {name: metric.compute(wide, labels.cpu()) for name, metric in metrics().items()}
