"""How far connectivity depends on the BatchNorm policy of mixed networks."""

from collections.abc import Sequence

from analysis.answers.verdicts import margin_of
from analysis.answers.words import join_names
from analysis.constructions import order
from analysis.data.queries import Configuration
from analysis.output.sheet import Cell, Column
from analysis.published.questions.case_tables import (
    Entry,
    case_table,
    place_column,
    reported,
    text_column,
    verdict_column,
    width_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases
from analysis.tables.alignment import measured_policies
from stats.intervals import Estimate, mean_interval

TITLE = "How far do barriers depend on the BatchNorm policy?"
NEEDS = "a sweep of a model with BatchNorm and two `policies` or more, on two seeds or more"
NOTE = (
    "Largest barrier under each policy: mean ± half of the 95 % t interval over seeds. One basin: by accuracy, "
    "under `reset`."
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the largest barrier under each policy, and whether the policies fall on the same side of the margin."""
    rows = [
        (case, one)
        for case in list_cases(sweeps)
        for name in order(case.chosen)
        for one in _by_width(case, name)
        if len(_barriers(case, one)) > 1
    ]
    if not rows:
        return []
    policies = dict.fromkeys(policy for row in rows for policy in _barriers(*row))
    entries = [
        place_column(),
        width_column(),
        *(_barrier_column(policy) for policy in policies),
        text_column("barrier against the margin", _sides_words),
        verdict_column("one basin"),
    ]
    return [case_table(rows, entries, NOTE)]


def _by_width(case: Case, name: str) -> list[Configuration]:
    """Return the reported configurations of a construction by width, or the chosen one where width does not vary."""
    alike = reported(case, name)
    widths = {c.hyperparameters.get("width") for c in alike}
    if len(widths) < len(alike) or len(alike) == 1:
        return [case.chosen[name]]
    return sorted(alike, key=lambda c: float(c.hyperparameters.get("width") or 0.0))


def _barriers(case: Case, one: Configuration) -> dict[str, Estimate]:
    """Return the largest barrier by policy, where it has an interval over seeds."""
    barriers = {}
    for policy in measured_policies(case.tables, [one]):
        estimate = mean_interval(one.by_seed(f"{case.tables.split}_barrier_{policy}").values())
        if estimate is not None and estimate.half is not None:
            barriers[policy] = estimate
    return barriers


def _barrier_column(policy: str) -> Entry:
    column = Column(policy, f"{policy} (points)", "", digits=1)
    return column, lambda case, one: Cell(_barriers(case, one).get(policy), of=len(one.rows))


def _sides_words(case: Case, one: Configuration) -> str | None:
    """Say whether the policies agree on which side of the margin the mean barrier lies."""
    margin = margin_of(case.tables, one.rows, "accuracy")
    if margin is None:
        return None
    sides = {policy: _side(barrier, margin) for policy, barrier in _barriers(case, one).items()}
    if set(sides.values()) in ({"below"}, {"above"}):
        return f"{next(iter(sides.values()))} {margin:g} under every policy"
    named = [
        f"{side} {margin:g} under {join_names([policy for policy, at in sides.items() if at == side])}"
        for side in ("below", "above")
        if side in sides.values()
    ]
    unsure = join_names([policy for policy, side in sides.items() if side == "open"])
    return "; ".join([*named, *([f"we could not tell under {unsure}"] if unsure else [])])


def _side(barrier: Estimate, margin: float) -> str:
    assert barrier.interval is not None
    low, high = barrier.interval
    return "below" if high < margin else "above" if low > margin else "open"
