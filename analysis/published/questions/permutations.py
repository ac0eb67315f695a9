"""State how far permutations of hidden units connect independent networks, by width and BatchNorm policy."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import in_words
from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, deep_reference, estimate_metric
from analysis.errors import Missing
from analysis.published.questions.case_tables import (
    BOLD,
    Row,
    case_table,
    chosen_rows,
    count_sides,
    deep_column,
    gap_to_deep,
    reported,
    text_column,
    verdict_column,
    width_column,
    width_text,
)
from analysis.published.sweeps import Case, Sweep, hyperparameter_words, list_cases
from analysis.tables import alignment
from stats.intervals import Estimate, welch

TITLE = "How far do permutations get?"
NEEDS = "a sweep with `deep` and `permuted` ensembles; a grid of `width` and several `policies` for where"
PERMUTED = "permuted"
BARRIER = "barrier"
"""Metric of the sentences: the largest barrier under the policy of verdicts."""
ALIKE = ("data_hash", "train_size", "epochs", "matching")
"""Columns that two widths must have in common."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count where alignment lowers the barrier, compare widths, then state both by policy, and the alignments."""
    cases = list_cases(sweeps)
    rows = [row for case in cases for row in _permuted_by_width(case) if deep_reference(case.tables, row[1])]
    if not rows:
        return []
    policies = dict.fromkeys(policy for case, one in rows for policy in alignment.measured_policies(case.tables, [one]))
    entries = [
        width_column(),
        text_column("aligned by", lambda _, one: one.hyperparameters.get("matching")),
        *(deep_column(f"barrier − deep, {policy} (points)", 1, f"barrier_{policy}") for policy in policies),
        verdict_column("one basin"),
    ]
    note = (
        f"Largest barrier of permuted ensembles minus that of the deep ensemble that they come from. {BOLD} The "
        "sentences are about the policy of verdicts, `reset`. Networks of two widths have nothing in common: their "
        "difference has the interval of Welch, over seeds. A largest barrier is the largest of several noisy numbers."
    )
    chosen = chosen_rows(cases, lambda case: [PERMUTED] if {REFERENCE, PERMUTED} <= case.chosen.keys() else [])
    lines = "\n".join([_count_words(chosen), *_width_lines(rows)])
    return [lines, case_table(rows, entries, note), *_alignment_tables(cases)]


def _count_words(rows: Sequence[Row]) -> str:
    """Count where the barrier is lower than that of the deep ensemble, and the ensembles in one basin."""
    words = count_sides("- Permuted vs. deep, largest barrier", [gap_to_deep(*row, BARRIER) for row in rows], "")
    inside = sum(verdict_word(find_verdict(case.tables, one)) == "yes" for case, one in rows)
    return f"{words}; in one basin in {inside}."


def _width_lines(rows: Sequence[Row]) -> list[str]:
    """Compare the barriers of each two widths that agree in images, budget and alignment."""
    by_width: dict[tuple[str, ...], dict[float, Row]] = defaultdict(dict)
    for case, one in rows:
        if (width := one.hyperparameters.get("width")) is not None:
            alike = (*case.setting, *(str(one.rows[0].get(name)) for name in ALIKE))
            by_width[alike].setdefault(width, (case, one))
    return [
        _width_sentence(widths[narrow], widths[wide])
        for widths in by_width.values()
        for narrow, wide in combinations(sorted(widths), 2)
    ]


def _width_sentence(narrow: Row, wide: Row) -> str:
    """Compare the barriers of two widths, and as a control those of the deep ensembles that were aligned."""
    (case, one), (_, other) = wide, narrow
    at, than = (width_text(each.hyperparameters["width"]) for each in (one, other))
    words = in_words(f"the largest barrier at width {at}", f"that at {than}", _width_gap(narrow, wide), "points", 1)
    deep = _width_gap(*((case, deep_reference(case.tables, one)) for case, one in (narrow, wide)))
    control = in_words(f"at {at}", f"at {than}", deep, "points", 1)
    return f"- {case.where}, {hyperparameter_words(one)}: {words}. Deep, not aligned: {control}."


def _width_gap(narrow: tuple[Case, Configuration | None], wide: tuple[Case, Configuration | None]) -> Estimate | None:
    """Return how much larger the barrier of the wider one is; None where one was not measured."""
    first, second = (one and estimate_metric(case.tables, one, BARRIER) for case, one in (narrow, wide))
    return welch(first, second) if first and second else None


def _alignment_tables(cases: Sequence[Case]) -> list[str]:
    tables = []
    for sweep in dict.fromkeys(case.sweep for case in cases):
        try:
            tables.append(f"**{sweep.name}**\n\n{alignment.build(sweep.tables).markdown().rstrip()}")
        except Missing:
            continue
    return tables


def _permuted_by_width(case: Case) -> list[Row]:
    chosen = reported(case, PERMUTED)
    return [(case, c) for c in sorted(chosen, key=lambda c: (c.hyperparameters.get("width") or 0.0, c.keys))]
