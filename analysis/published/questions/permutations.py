"""State how far permutations of hidden units connect independent networks, by width and BatchNorm policy."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.data.queries import Configuration, deep_reference
from analysis.errors import Missing
from analysis.published.questions.case_tables import (
    BOLD,
    Entry,
    Row,
    case_table,
    difference_column,
    reported,
    text_column,
    verdict_column,
    width_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases
from analysis.tables import alignment
from stats.intervals import Estimate

TITLE = "How far do permutations get?"
NEEDS = "a sweep with `deep` and `permuted` ensembles; a grid of `width` and several `policies` for where"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State how much lower the barrier is after alignment, by width and policy, then the table of alignment."""
    cases = list_cases(sweeps)
    rows = [row for case in cases for row in _permuted_by_width(case) if deep_reference(case.tables, row[1])]
    if not rows:
        return []
    policies = dict.fromkeys(policy for case, one in rows for policy in alignment.measured_policies(case.tables, [one]))
    entries = [
        width_column(),
        text_column("aligned by", lambda _, one: one.hyperparameters.get("matching")),
        *(_barrier_column(policy) for policy in policies),
        verdict_column("one basin"),
    ]
    note = f"Largest barrier of permuted ensembles minus that of the deep ensemble that they come from. {BOLD}"
    return [case_table(rows, entries, note), *_alignment_tables(cases)]


def _alignment_tables(cases: Sequence[Case]) -> list[str]:
    tables = []
    for sweep in dict.fromkeys(case.sweep for case in cases):
        try:
            tables.append(f"**{sweep.name}**\n\n{alignment.build(sweep.tables).markdown().rstrip()}")
        except Missing:
            continue
    return tables


def _permuted_by_width(case: Case) -> list[Row]:
    chosen = reported(case, "permuted")
    return [(case, c) for c in sorted(chosen, key=lambda c: (c.hyperparameters.get("width") or 0.0, c.keys))]


def _barrier_column(policy: str) -> Entry:
    def gap(case: Case, one: Configuration) -> Estimate | None:
        deep = deep_reference(case.tables, one)
        return None if deep is None else paired_difference(case.tables, one, deep, f"barrier_{policy}")

    return difference_column(f"barrier − deep, {policy} (points)", 1, gap)
