"""Objectives of a search, limits on validation scores, and rules of early stopping."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from basin.errors import UsageError, one_of
from stats.verdicts import answer
from sweeps.study.glossary import defined_glossary

SCHEDULERS = {"asha": 1, "moasha": 2}
"""Rule of early stopping → number of objectives it compares."""
STATED = re.compile(r"\s*([\w/]+)\s*(>=|<=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")
MISSING = 1.0
"""Excess of a missing score, which cannot be shown to satisfy its limit."""
BASIN = "val_basin_upper_reset"
"""Score of the basin constraint: upper confidence bound of the accuracy that paths lose on validation."""
EXCESSES = ("q_bar_", "q_star_", "q_mid_")
"""Mean chord excesses. Above 0 members are worse than the networks between them, which is no merit."""


def find_score(name: str, option: str) -> str:
    """Return the validation column of a score, named with or without `val_`; connectivity means policy reset.

    Raises UsageError if there is no such score.
    """
    plain, known = name.removeprefix("val/").removeprefix("val_"), defined_glossary().better
    for score in (plain, f"{plain}_reset"):
        if score in known:
            return f"val_{score}"
    raise one_of(f"{option} score of validation", name, known)


def score_sign(column: str) -> int:
    """Return 1 if a higher validation score is better, else −1."""
    return defined_glossary().sign(column.removeprefix("val_"))


def capped_merit(column: str, value: float) -> float:
    """Return a mean score for comparison: a mean chord excess is capped at 0, other scores are unchanged."""
    capped = column.removeprefix("val_").startswith(EXCESSES)
    return min(value, 0.0) if capped else value


def parse_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of one or two objectives; raises UsageError for more, and for unknown scores."""
    columns = tuple(find_score(name, "--metric") for name in names)
    if len(columns) != len(set(columns)) or len(columns) > 2:
        raise UsageError(f"--metric {', '.join(names)}: expected one objective, or two different ones")
    return columns


@dataclass(frozen=True)
class Limit:
    """A limit on a validation score."""

    column: str
    sense: str
    """>= or <=."""
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Parse `val_ece <= 5`; raises UsageError for another form."""
        match = STATED.fullmatch(text)
        if not match:
            raise UsageError(f"--constraint {text}: expected a score, >= or <=, and a number, such as 'ece <= 5'")
        column, sense, bound = match.groups()
        try:
            limit = float(bound)
        except ValueError:
            limit = math.inf
        if not math.isfinite(limit):
            raise UsageError(f"--constraint {text}: expected a finite number such as 5 or 0.5, got {bound}")
        return cls(column, sense, limit)

    def __str__(self) -> str:
        return f"{self.column} {self.sense} {self.bound:g}"

    def excess(self, row: Mapping[str, Any]) -> float:
        """Return how far a row exceeds the limit; 0 or less satisfies it."""
        value = row.get(self.column)
        if value is None and self.column == BASIN and row.get("members") == 1:
            value = 0.0  # a single network has no paths
        if value is None:
            return MISSING
        return float(self.bound - value if self.sense == ">=" else value - self.bound)


def parse_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Parse limits such as `ece <= 5`; raises UsageError for another form and for unknown scores."""
    limits = [Limit.parse(text) for text in texts]
    return tuple(replace(limit, column=find_score(limit.column, "--constraint")) for limit in limits)


def seed_verdict(row: Mapping[str, Any], split: str, margin: float) -> str | None:
    """Return whether the networks of one seed lie in one basin by accuracy: yes, no or undecided; None if unknown.

    `margin` is in accuracy points.
    """
    upper, lower = (row.get(f"{split}_basin_{end}_reset") for end in ("upper", "lower"))
    return None if upper is None or lower is None else answer(upper, lower, margin)


def check_scheduler(name: str, objectives: Sequence[str]) -> None:
    """Raise UsageError for an unknown scheduler, or one that cannot compare these objectives during training."""
    if name not in SCHEDULERS:
        raise one_of("scheduler", name, SCHEDULERS)
    if len(objectives) != SCHEDULERS[name]:
        other = next(rule for rule, count in SCHEDULERS.items() if count == len(objectives))
        fix = "one --metric" if name == "asha" else "two, such as --metric accuracy --metric q_bar"
        raise UsageError(
            f"--scheduler {name}: expected {'one objective' if name == 'asha' else 'two objectives'}, "
            f"got {', '.join(objectives)}: give {fix}, or --scheduler {other}"
        )
    from sweeps.storage.trial_schemas import history_schema

    known = {f"val_{score}" for score in defined_glossary().better}
    grown = {field.name for field in history_schema()}
    for objective in objectives:
        if early_score(objective) not in grown:
            raise UsageError(
                f"--scheduler {name}: expected a metric that is measured during training, "
                f"got {objective}; expected one of {', '.join(sorted(known & grown))}"
            )


def early_score(objective: str) -> str:
    """Return the score that stands for an objective during training: q_mid for q_bar, which needs whole paths."""
    return objective.replace("q_bar", "q_mid")
