"""Metrics of an ensemble's predictions: one function each, with its unit and direction."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

LogProbs = Float[Tensor, "M N C"]
Labels = Int[Tensor, " N"]
Predictions = tuple[Float[Tensor, "M L C"], Int[Tensor, " L"]]
"""Log-probabilities of M members on L images, and the labels of these."""
Better = Literal["higher", "lower", "neither"]
PerImage = Callable[[LogProbs, Labels], Float[Tensor, " N"]]
Compute = TypeVar("Compute", bound=Callable[..., float])
NEEDS = ("fit", "ood")


@dataclass(frozen=True)
class Metric:
    """A metric with its unit and direction."""

    name: str
    unit: str
    better: Better
    doc: str
    compute: Callable[..., float]
    """(log-probabilities of M members on N images, labels, **needs) → the number."""
    final: bool = False
    """Measured only at the end of a trial: too slow for every progress report."""
    needs: tuple[str, ...] = ()
    """Further inputs: `fit`, predictions on another split, or `ood`, log-probabilities on another dataset."""
    per_image: PerImage | None = None
    """Values whose mean over images is the number, if it is one: its interval needs no resampling then."""


_METRICS: dict[str, Metric] = {}


def metric(*, unit: str, better: Better, final: bool = False) -> Callable[[Compute], Compute]:
    """Register a function as the metric of its name; it `needs` its keyword-only parameters without a default."""

    def add(function: Compute) -> Compute:
        _register_metric(function, unit, better, final)
        return function

    return add


def image_mean(*, unit: str, better: Better, final: bool = False) -> Callable[[PerImage], Callable[..., float]]:
    """Turn a function that gives a value for each image into the metric that is their mean, and register it."""

    def add(function: PerImage) -> Callable[..., float]:
        @wraps(function, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        def mean(log_probs: LogProbs, labels: Labels) -> float:
            return float(function(log_probs, labels).mean())

        _register_metric(mean, unit, better, final, function)
        return mean

    return add


def _register_metric(
    compute: Callable[..., float], unit: str, better: Better, final: bool, per_image: PerImage | None = None
) -> None:
    name, parameters = compute.__name__, inspect.signature(compute).parameters.values()
    needs = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
    assert name not in _METRICS, f"two metrics {name!r}"
    assert set(needs) <= set(NEEDS), f"metric {name!r} needs {needs}: expected some of {NEEDS}"
    doc = (compute.__doc__ or "").partition("\n")[0]
    _METRICS[name] = Metric(name, unit, better, doc, compute, final, needs, per_image)


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_METRICS.items()))


def score_predictions(
    log_probs: LogProbs,
    labels: Labels,
    *,
    final: bool = False,
    fit: Predictions | None = None,
    ood: Float[Tensor, "M O C"] | None = None,
) -> dict[str, float]:
    """The metrics of an ensemble, computed in float64.

    Those that are `final` only on demand; those that need another split (`fit`: its predictions and labels) or another
    dataset (`ood`: log-probabilities on its images) only if it is given.
    """
    given: dict[str, object] = {}
    if fit is not None:
        given["fit"] = (fit[0].double(), fit[1].cpu())
    if ood is not None:
        given["ood"] = ood.double()
    wide, truth = log_probs.double(), labels.cpu()
    return {
        name: metric.compute(wide, truth, **{need: given[need] for need in metric.needs})
        for name, metric in all_metrics().items()
        if (final or not metric.final) and given.keys() >= set(metric.needs)
    }
