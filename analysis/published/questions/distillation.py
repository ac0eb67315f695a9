"""State the share of the gap that distillation closes, by temperature τ and constraint strength β."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference, share_closed
from analysis.answers.words import interval_ends, signed
from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, configuration_families
from analysis.errors import Missing
from analysis.published.questions.case_tables import (
    BOLD,
    Row,
    case_table,
    chosen_rows,
    count_sides,
    deep_column,
    difference_column,
    gap_to_deep,
    text_column,
    training_column,
    verdict_column,
)
from analysis.published.sweeps import Case, Sweep, hyperparameter_words, list_cases
from stats.intervals import Estimate

TITLE = "How much does distillation give back?"
NEEDS = (
    "a sweep with `deep`, `constrained` and `distilled` ensembles of one recipe; "
    "a grid of `temperature` and `beta` for where"
)
ENTRIES = [
    text_column("at", lambda _, one: hyperparameter_words(one)),
    deep_column("accuracy − deep (points)", 2, "accuracy"),
    deep_column("NLL − deep (nats)", 3, "nll"),
    difference_column("accuracy − constrained (points)", 2, lambda case, one: _gap_to_constrained(case, one)),
    text_column("share of the accuracy gap closed", lambda case, one: _share_words(case, one, "accuracy")),
    text_column("share of the NLL gap closed", lambda case, one: _share_words(case, one, "nll")),
    training_column(),
    verdict_column("one basin"),
]
NOTE = (
    f"{BOLD} Share: of the gap from constrained to deep, with its 95 % interval; no gap: the gap is within the noise, "
    "or constrained is better. Training ÷ deep: passes of training, those of the teachers included."
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State what distillation adds at the configuration that validation chooses, then a table for each grid."""
    cases = [case for case in list_cases(sweeps) if {REFERENCE, "constrained", "distilled"} <= case.chosen.keys()]
    rows = chosen_rows(cases, lambda _: ["distilled"])
    if not rows:
        return []
    counts = [
        count_sides("- Distilled vs. deep, accuracy", [gap_to_deep(*row, "accuracy") for row in rows], "higher"),
        count_sides("- Distilled vs. deep, NLL", [gap_to_deep(*row, "nll") for row in rows], "lower"),
        count_sides("- Distilled vs. constrained, accuracy", [_gap_to_constrained(*row) for row in rows], "higher"),
    ]
    lines = "\n".join(f"{words}." for words in counts)
    return [lines, case_table(rows, ENTRIES, NOTE), *_grid_tables(cases)]


def _grid_tables(cases: Sequence[Case]) -> list[str]:
    """Return the table of each sweep's distilled configurations by τ and β; nothing for a single one."""
    grids = [(case, family) for case in cases if (family := _grid(case))]
    return [case_table(family, ENTRIES, f"{case.words}: every τ and β of the grid.") for case, family in grids]


def _grid(case: Case) -> list[Row]:
    try:
        families = configuration_families(case.tables, "distilled", ["temperature", "beta"])
    except Missing:
        return []
    family = families.get(case.setting, [])
    if not family or "search" in {row["role"] for row in family[0].rows}:
        return []
    places = sorted(family, key=lambda one: (one.hyperparameters["temperature"], one.hyperparameters["beta"]))
    return [(case, one) for one in places]


def _gap_to_constrained(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, case.chosen["constrained"], "accuracy")


def _share_words(case: Case, distilled: Configuration, metric: str) -> str:
    """Format the closed share in percent: `62 % (40 to 85)`; `no gap` where the gap may be 0 or is none."""
    low, high = case.chosen["constrained"], case.chosen[REFERENCE]
    share = share_closed(case.tables, low=low, between=distilled, high=high, metric=metric)
    if share is None:
        return "–"
    gap = paired_difference(case.tables, high, low, metric)
    lost = gap is not None and gap.mean * (1 if metric == "accuracy" else -1) > 0
    if share.interval is None or share.value is None or not lost:
        return "no gap"
    return f"{signed(100 * share.value, 0)} % ({interval_ends(100 * share.interval[0], 100 * share.interval[1], 0)})"
