"""Costs of a trial: one function each, with its unit and its heading in the table of costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from basin.trial import Outcome

Amount = int | float | None
Compute = TypeVar("Compute", bound=Callable[[Outcome], Amount])


@dataclass(frozen=True)
class Cost:
    """A cost with its unit and heading."""

    name: str
    unit: str
    doc: str
    compute: Callable[[Outcome], Amount]
    """Finished trial → the amount; None if it is not known."""
    heading: str
    """Heading in the table of costs; empty leaves it out."""
    whole: bool
    """True if the amount is an integer."""


COSTS: dict[str, Cost] = {}
"""Every cost by its name, in the order of the columns."""


def cost(*, unit: str, heading: str = "", whole: bool = True) -> Callable[[Compute], Compute]:
    """Register a function as the cost of its name; the first line of its docstring describes the column."""

    def add(function: Compute) -> Compute:
        name, doc = function.__name__, (function.__doc__ or "").partition("\n")[0]
        COSTS[name] = Cost(name, unit, doc, function, heading, whole)
        return function

    return add


def trial_costs(outcome: Outcome) -> dict[str, Amount]:
    """Every cost of a finished trial by its name."""
    return {name: cost.compute(outcome) for name, cost in COSTS.items()}


@cost(unit="batches", heading="passes (batches)")
def passes(outcome: Outcome) -> int:
    """Passes of the task's own loss, of members and mixed networks, a shared trunk counted once."""
    return outcome.meter.passes


@cost(unit="epochs", heading="member epochs", whole=False)
def member_epochs(outcome: Outcome) -> float:
    """Passes of the task's own loss, in epochs of one member."""
    return outcome.meter.passes / outcome.epoch


@cost(unit="images")
def image_passes(outcome: Outcome) -> int:
    """Passes of the task's own loss, in images, forward and backward."""
    return outcome.meter.passes * outcome.batch


@cost(unit="batches", heading="teachers' passes (batches)")
def teacher_passes(outcome: Outcome) -> int:
    """Passes in the teachers' training."""
    return outcome.meter.teacher_passes


@cost(unit="batches", heading="teachers' forwards (batches)")
def teacher_forwards(outcome: Outcome) -> int:
    """Forward-only passes of teachers while students train: one for each teacher and batch it is asked about."""
    return outcome.meter.teacher_forwards


@cost(unit="batches")
def stage_passes(outcome: Outcome) -> int:
    """Passes of the stages that the trial uses, each counted once."""
    return outcome.stage_passes


@cost(unit="s", heading="wall time without stages (s)", whole=False)
def seconds(outcome: Outcome) -> float:
    """Wall time of the trial over its launches, without stage_seconds."""
    return outcome.seconds


@cost(unit="s", whole=False)
def stage_seconds(outcome: Outcome) -> float | None:
    """Wall time of the stages that the trial uses; null if not known."""
    return outcome.stage_seconds
