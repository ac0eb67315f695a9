"""Compare connected ensembles, without a teacher, with the deep ensemble: the cost of connectivity."""

from collections.abc import Sequence

from analysis.answers.power import seeds_to_show
from analysis.constructions import REFERENCE, capitalised
from analysis.data.queries import Configuration
from analysis.published.questions.case_tables import (
    BOLD,
    SAME_STATISTICS,
    by_construction,
    case_table,
    chosen_rows,
    count_sides,
    deep_column,
    gap_to_deep,
    place_column,
    text_column,
    training_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases

TITLE = "What does connectivity cost?"
NEEDS = "a sweep with `deep` and `constrained` or `swe` ensembles of one recipe, on three seeds or more"
CONNECTED = ("constrained", "swe")
"""Constructions whose only teacher is the labels."""
POINT = 1.0
"""The difference in accuracy, in points, whose seeds are counted."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count where a construction loses against the deep ensemble, then state its differences for each case."""
    rows = chosen_rows(list_cases(sweeps), _compared)
    if not rows:
        return []
    lines = []
    for name, mine in by_construction(rows).items():
        accuracy, nll = ([gap_to_deep(*row, metric) for row in mine] for metric in ("accuracy", "nll"))
        words = count_sides(f"- {capitalised(name)} vs. deep, accuracy", accuracy, "higher")
        alike = [gap_to_deep(*row, "nll_of_ends") for row in mine]
        counts = [words, count_sides("NLL", nll, "lower"), count_sides("same statistics", alike, "lower")]
        lines.append(f"{'; '.join(counts)}.")
    entries = [
        place_column(),
        deep_column("accuracy − deep (points)", 2, "accuracy"),
        text_column("seeds to show 1 point", _seeds_for_a_point),
        deep_column("NLL − deep (nats)", 3, "nll"),
        deep_column("same statistics (nats)", 3, "nll_of_ends"),
        training_column(),
    ]
    note = (
        f"{BOLD} Seeds to show 1 point: number of seeds with which a true difference of 1 point would show with 80 % "
        "power, with as many test images; a rough guide, as its variances come from these seeds. Training ÷ deep: "
        "passes of training, forward and backward, in units of the deep ensemble's. Constrained members take as many "
        "steps as deep ones, and the passes of mixed networks come on top; no deep ensemble has as many passes. "
        f"SWE is one run: its loss is that of connectivity and of less training. {SAME_STATISTICS}"
    )
    return ["\n".join(lines), case_table(rows, entries, note)]


def _compared(case: Case) -> list[str]:
    return [name for name in CONNECTED if {name, REFERENCE} <= case.chosen.keys()]


def _seeds_for_a_point(case: Case, one: Configuration) -> str | None:
    return seeds_to_show(case.tables, one, case.chosen[REFERENCE], "accuracy", POINT)
