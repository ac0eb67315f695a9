"""How far connectivity depends on the BatchNorm policy of mixed networks."""

from collections.abc import Sequence

from analysis.answers.verdicts import find_verdict, margin_of, verdict_word
from analysis.answers.words import join_names
from analysis.constructions import order
from analysis.data.queries import Configuration, configurations
from analysis.published.sweeps import Case, Sweep, list_cases
from analysis.tables.alignment import measured_policies
from stats.intervals import Estimate, mean_interval
from sweeps.storage.roles import REPORTED

TITLE = "How far do verdicts depend on the BatchNorm policy?"
NEEDS = "a sweep of a model with BatchNorm and two `policies` or more, on two seeds or more"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the largest barrier under each policy, and whether the policies fall on the same side of the margin."""
    lines = []
    for case in list_cases(sweeps):
        for name in order(case.chosen):
            sentences = [_policy_words(case, one) for one in _reported(case, name)]
            lines += [f"- {case.words}, {words}" for words in sentences if words]
    return ["\n".join(lines)] if lines else []


def _reported(case: Case, name: str) -> list[Configuration]:
    """Return the reported configurations of a construction by width, or the chosen one where width does not vary."""
    alike = [c for c in configurations(case.tables) if (*c.setting, c.construction) == (*case.setting, name)]
    alike = [c for c in alike if any(row["role"] in REPORTED for row in c.rows)]
    widths = {c.hyperparameters.get("width") for c in alike}
    if len(widths) < len(alike) or len(alike) == 1:
        return [case.chosen[name]]
    return sorted(alike, key=lambda c: float(c.hyperparameters.get("width") or 0.0))


def _policy_words(case: Case, one: Configuration) -> str:
    split, margin = case.tables.split, margin_of(case.tables, one.rows, "accuracy")
    barriers: dict[str, Estimate] = {}
    for policy in measured_policies(case.tables, [one]):
        estimate = mean_interval(one.by_seed(f"{split}_barrier_{policy}").values())
        if estimate is not None and estimate.half is not None:
            barriers[policy] = estimate
    if len(barriers) < 2 or margin is None:
        return ""
    width = one.hyperparameters.get("width")
    each = join_names([f"{barrier.format(1)} ({policy})" for policy, barrier in barriers.items()])
    seeds = min(barrier.n for barrier in barriers.values())
    headline = verdict_word(find_verdict(case.tables, one))
    return (
        f"{one.construction}{'' if width is None else f', width ×{width:g}'}: the largest barrier is {each} points "
        f"(95 % CI over {seeds} seeds); {_sides_words(barriers, margin)}. Verdict (policy "
        f"{case.tables.policies[0]}): {headline}."
    )


def _sides_words(barriers: dict[str, Estimate], margin: float) -> str:
    """Say whether the policies agree on which side of the margin the mean barrier lies."""
    sides = {policy: _side(barrier, margin) for policy, barrier in barriers.items()}
    if set(sides.values()) in ({"below"}, {"above"}):
        return f"{next(iter(sides.values()))} the margin of {margin:g} under every policy"
    if {"below", "above"} <= set(sides.values()):
        parts = [
            f"{side} under {join_names([policy for policy, at in sides.items() if at == side])}"
            for side in ("below", "above")
        ]
        return f"it depends on the policy: {' and '.join(parts)} (margin {margin:g})"
    unsure = join_names([policy for policy, side in sides.items() if side == "open"])
    return f"we could not tell under {unsure}: the interval holds the margin of {margin:g}"


def _side(barrier: Estimate, margin: float) -> str:
    assert barrier.interval is not None
    low, high = barrier.interval
    return "below" if high < margin else "above" if low > margin else "open"
