"""Accuracy halfway between two members, from table `paths`."""

from dataclasses import dataclass

from analysis.data.queries import Configuration, Tables, first_present
from analysis.errors import Missing
from stats.intervals import Estimate, mean_interval
from stats.verdicts import MARGIN


@dataclass(frozen=True)
class Midpoint:
    """Accuracy (%) at α = ½ and at the ends, each a mean over pairs, then over seeds."""

    middle: Estimate
    ends: Estimate

    @property
    def falls(self) -> bool:
        """True if accuracy is more than the default margin below the ends."""
        return self.ends.mean - self.middle.mean > MARGIN


def midpoint_accuracy(tables: Tables, configuration: Configuration) -> Midpoint | None:
    """Return accuracy halfway between members under the headline BatchNorm policy; None without paths."""
    try:
        points = tables.load("paths", configuration.keys).to_pylist()
    except Missing:
        return None
    points = [point for point in points if point["split"] == tables.split and point["accuracy"] is not None]
    policy = first_present(tables.policies, {point["policy"] for point in points})
    points = [point for point in points if point["policy"] == policy]
    middle, ends = _mean_at(points, (0.5,)), _mean_at(points, (0.0, 1.0))
    return None if middle is None or ends is None else Midpoint(middle, ends)


def _mean_at(points: list[dict[str, float]], alphas: tuple[float, ...]) -> Estimate | None:
    by_trial: dict[float, list[float]] = {}
    for point in points:
        if point["alpha"] in alphas:
            by_trial.setdefault(point["key"], []).append(point["accuracy"])
    return mean_interval(sum(values) / len(values) for values in by_trial.values())
