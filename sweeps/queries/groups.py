"""Runs of one configuration."""

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from sweeps.study.objectives import Limit
from sweeps.tracking.reader import Run


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, one per seed."""

    runs: list[Run]
    verdicts: dict[str, Any] = field(default_factory=dict)
    """Split → verdicts over all seeds; empty if unknown."""
    beyond: float | None = None
    """Mean accuracy points by which the search seeds exceed the margin; None if unknown."""
    searched: float | None = None
    """Validation score on the search seeds, the y of the answer; None for what no search chose."""

    @property
    def first(self) -> Run:
        """The run of the smallest seed; of runs without parameters, the oldest."""
        return min(self.runs, key=lambda run: int(run.params.get("seed", 0)))

    def mean(self, name: str) -> float | None:
        """Mean of a metric over the seeds; None unless all have it."""
        values = [run.metrics[name] for run in self.runs if name in run.metrics]
        return fmean(values) if len(values) == len(self.runs) else None

    def excess(self, limit: Limit) -> float | None:
        """Excess of the mean over the seeds beyond a limit; None unless all have the metric."""
        value = self.mean(limit.column)
        return None if value is None else limit.excess({limit.column: value})
