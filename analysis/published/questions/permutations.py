"""State how far permutations of hidden units connect independent networks, by width and BatchNorm policy."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import in_words
from analysis.data.queries import Configuration, configurations, deep_reference
from analysis.errors import Missing
from analysis.published.sweeps import Case, Sweep, list_cases
from analysis.tables import alignment

TITLE = "How far do permutations get?"
NEEDS = "a sweep with `deep` and `permuted` ensembles; a grid of `width` and several `policies` for where"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State how much lower the barrier is after alignment, by width and policy, then the table of alignment."""
    lines = []
    tables = []
    cases = list_cases(sweeps)
    for case in cases:
        words = [_barrier_words(case, permuted) for permuted in _permuted_by_width(case)]
        lines += [f"- {case.words}, {one}" for one in words if one]
    for sweep in dict.fromkeys(case.sweep for case in cases):
        try:
            tables.append(f"**{sweep.name}**\n\n{alignment.build(sweep.tables).markdown().rstrip()}")
        except Missing:
            continue
    return ["\n".join(lines), *tables] if lines else []


def _permuted_by_width(case: Case) -> list[Configuration]:
    chosen = [c for c in configurations(case.tables) if c.setting == case.setting and c.construction == "permuted"]
    return sorted(chosen, key=lambda c: (c.hyperparameters.get("width") or 0.0, c.keys))


def _barrier_words(case: Case, permuted: Configuration) -> str:
    """Compare the largest barrier with that before alignment, for each policy; then the verdict."""
    deep = deep_reference(case.tables, permuted)
    if deep is None:
        return ""
    width, matching = (permuted.hyperparameters.get(name) for name in ("width", "matching"))
    how = [f"width ×{width:g}" if width else "", f"aligned by {matching}" if matching else ""]
    parts = []
    for policy in alignment.measured_policies(case.tables, [permuted]):
        gap = paired_difference(case.tables, permuted, deep, f"barrier_{policy}")
        parts.append(in_words("the largest barrier of permuted", "that of deep", gap, f"points ({policy})", 1))
    parts.append(f"in one basin: {verdict_word(find_verdict(case.tables, permuted))}")
    start = ", ".join(part for part in how if part)
    return f"{f'{start}: ' if start else ''}{'; '.join(parts)}."
