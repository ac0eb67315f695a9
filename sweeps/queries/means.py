"""Means of a configuration's runs, with their intervals, and its verdict: the numbers that `best` shows and filters."""

from collections import Counter
from collections.abc import Sequence

from stats.intervals import Estimate, mean_interval
from sweeps.queries.groups import Group
from sweeps.storage.roles import REPORTED
from sweeps.study.objectives import Limit


def estimate_metric(group: Group, split: str, name: str) -> Estimate | None:
    """Estimate over seeds and images if stored, else by Student's t over seeds; None if no run has the metric.

    Of one seed a stored interval is over images alone.
    """
    if stored := ((group.verdicts.get("scores") or {}).get(split) or {}).get(name):
        return Estimate(stored["mean"], stored["half"], stored.get("seeds", len(group.runs)), stored["images"])
    column = f"{split}_{name}"
    return mean_interval(run.metrics[column] for run in group.runs if column in run.metrics)


def satisfies(group: Group, split: str, bounds: Sequence[Limit]) -> bool:
    """Tell whether the means of a configuration on this split satisfy all bounds; a missing mean does not."""
    return all(_satisfies_one(group, split, bound) for bound in bounds)


def _satisfies_one(group: Group, split: str, bound: Limit) -> bool:
    mean = estimate_metric(group, split, bound.column)
    return mean is not None and bound.excess({bound.column: mean.mean}) <= 0


def verdict_word(group: Group, split: str) -> str:
    """Verdict over all seeds if known; for searched trials those of the single seeds."""
    if group.first.role in REPORTED:
        joint = (group.verdicts.get(split) or {}).get("accuracy")
        return str(joint["answer"]) if joint else "–"
    counts = Counter(run.tags.get(f"verdict_{split}", "–") for run in group.runs)
    return next(iter(counts)) if len(group.runs) == 1 else ", ".join(f"{n} {word}" for word, n in counts.items())
