"""What a search aims at: scores of the validation split, limits on them, and which trials may be stopped early."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from basin.errors import UsageError, one_of
from sweeps.schemas import history, trials

SCHEDULERS = {"asha": 1, "moasha": 2}
"""Rule of early stopping → objectives that it compares."""
STATED = re.compile(r"\s*([\w/]+)\s*(>=|<=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")
MISSING = 1.0
"""How far a score that is not there is beyond its limit: it cannot be seen to satisfy it."""


@cache
def _better() -> dict[str, str]:
    """Column of validation → whether higher or lower is better."""
    columns = [field for field in trials() if field.name.startswith("val_") and field.metadata]
    return {f.name: f.metadata[b"better"].decode() for f in columns if b"better" in f.metadata}


def score(name: str, option: str) -> str:
    """The column of a score, by its name with or without `val_`; of q_bar and its like, with the policy reset.

    Raises UsageError naming those there are.
    """
    plain = name.removeprefix("val/").removeprefix("val_")
    for column in (f"val_{plain}", f"val_{plain}_reset"):
        if column in _better():
            return column
    raise one_of(f"{option} score of validation", name, (column.removeprefix("val_") for column in _better()))


def sign(column: str) -> int:
    """1 if more of a score is better, else −1."""
    return -1 if _better()[column] == "lower" else 1


@dataclass(frozen=True)
class Constraint:
    """A limit on a score of the validation split."""

    column: str
    sense: str
    """>= or <=."""
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """From `q_bar >= -2`; raises UsageError for a text of another form and for an unknown score."""
        found = STATED.fullmatch(text)
        if not found:
            raise UsageError(f"--constraint {text}: expected a score, >= or <=, and a number, such as 'q_bar >= -2'")
        name, sense, bound = found.groups()
        return cls(score(name, "--constraint"), sense, float(bound))

    def __str__(self) -> str:
        return f"{self.column} {self.sense} {self.bound:g}"

    def excess(self, row: Mapping[str, Any]) -> float:
        """How far a row is beyond the limit; 0 or less if it satisfies it."""
        value = row.get(self.column)
        if value is None:
            return MISSING
        return float(self.bound - value if self.sense == ">=" else value - self.bound)


def check_scheduler(name: str, objectives: Sequence[str]) -> None:
    """Raise UsageError for an unknown scheduler, or one that cannot compare growing ensembles by these objectives."""
    if name not in SCHEDULERS:
        raise one_of("scheduler", name, SCHEDULERS)
    if len(objectives) != SCHEDULERS[name]:
        other = next(rule for rule, count in SCHEDULERS.items() if count == len(objectives))
        raise UsageError(
            f"--scheduler {name}: expected {SCHEDULERS[name]} objectives, got {', '.join(objectives)}; "
            f"give {'--metric, such as val/accuracy' if name == 'asha' else 'no --metric'}, or --scheduler {other}"
        )
    grown = {field.name for field in history()}
    for objective in objectives:
        if early(objective) not in grown:
            raise UsageError(
                f"--scheduler {name}: expected a metric that is measured while an ensemble grows, "
                f"got {objective}; expected one of {', '.join(sorted(_better().keys() & grown))}"
            )


def early(objective: str) -> str:
    """What stands for an objective while an ensemble grows: for q_bar, which needs whole paths, that of midpoints."""
    return objective.replace("q_bar", "q_mid")
