"""State the share of the gap that distillation closes, by temperature τ and constraint strength β."""

from collections.abc import Sequence
from functools import partial

from analysis.answers.differences import paired_difference, share_closed
from analysis.answers.words import enough_seeds, interval_ends, signed
from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, configuration_families, deep_reference
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
    place_column,
    reported,
    text_column,
    training_column,
    verdict_column,
)
from analysis.published.sweeps import Case, Sweep, hyperparameter_words, list_cases
from stats.intervals import Estimate
from sweeps.storage.roles import REPORTED

TITLE = "How much does distillation give back?"
NEEDS = (
    "a sweep with `deep`, `constrained` and `distilled` ensembles of one recipe; "
    "a grid of `temperature` and `beta` for where"
)
NOTE = (
    f"{BOLD} Constrained: at the same β and t; without one, the one of *Every construction*. Share: of the gap "
    "from it to deep, with its 95 % interval; "
    "no gap: the gap is within the noise, or constrained is better. Training ÷ deep: passes of training, those of the "
    "teachers included."
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
        count_sides(
            "- Distilled vs. constrained, accuracy", [_gap_to_constrained("accuracy", *row) for row in rows], "higher"
        ),
        count_sides("- Distilled vs. constrained, NLL", [_gap_to_constrained("nll", *row) for row in rows], "lower"),
    ]
    lines = "\n".join(f"{words}." for words in counts)
    return [lines, case_table(rows, ENTRIES, NOTE), *_grid_tables(cases)]


def _grid_tables(cases: Sequence[Case]) -> list[str]:
    """Return the table of each sweep's distilled configurations by τ and β; nothing for a single one."""
    grids = [(case, family) for case in cases if (family := _grid(case))]
    return [case_table(family, ENTRIES, _grid_note(case, family)) for case, family in grids]


def _grid_note(case: Case, family: Sequence[Row]) -> str:
    """Say how the other values of τ and β differ from those that validation chooses."""
    best = case.chosen["distilled"]
    others = [one for _, one in family if one.keys != best.keys]
    gaps = [[paired_difference(case.tables, one, best, metric) for one in others] for metric in ("accuracy", "nll")]
    accuracy, nll = count_sides("accuracy", gaps[0], "higher"), count_sides("NLL", gaps[1], "lower")
    return (
        f"{case.words}: every τ and β of the grid. Validation chooses {hyperparameter_words(best)}; the others vs. it, "
        f"{accuracy}; {nll}."
    )


def _grid(case: Case) -> list[Row]:
    try:
        families = configuration_families(case.tables, "distilled", ["temperature", "beta"])
    except Missing:
        return []
    family = [one for one in families.get(case.setting, []) if any(row["role"] in REPORTED for row in one.rows)]
    if len(family) < 2:
        return []
    places = sorted(family, key=lambda one: (one.hyperparameters["temperature"], one.hyperparameters["beta"]))
    return [(case, one) for one in places]


def _constrained(case: Case, distilled: Configuration) -> Configuration:
    """Return the constrained ensemble that agrees in all that both have, β and t among it; else the chosen one."""
    chosen, own = case.chosen["constrained"], distilled.hyperparameters
    agreeing = [
        one
        for one in [chosen, *reported(case, "constrained")]
        if all(own[name] == one.hyperparameters[name] for name in own.keys() & one.hyperparameters.keys())
    ]
    return next(iter(agreeing), chosen)


def _gap_to_constrained(metric: str, case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, _constrained(case, one), metric)


def _share_words(metric: str, case: Case, distilled: Configuration) -> str:
    """Format the closed share in percent: `62 % (40 to 85)`; `no gap` where the gap may be 0 or is none."""
    low, high = _constrained(case, distilled), deep_reference(case.tables, distilled)
    if high is None:
        return "–"
    share = share_closed(case.tables, low=low, between=distilled, high=high, metric=metric)
    if share is None or not enough_seeds(share):
        return "–"
    gap = paired_difference(case.tables, high, low, metric)
    lost = gap is not None and gap.mean * (1 if metric == "accuracy" else -1) > 0
    if share.interval is None or share.value is None or not lost:
        return "no gap"
    return f"{signed(100 * share.value, 0)} % ({interval_ends(100 * share.interval[0], 100 * share.interval[1], 0)})"


ENTRIES = [
    place_column(),
    deep_column("accuracy − deep (points)", 2, "accuracy"),
    deep_column("NLL − deep (nats)", 3, "nll"),
    difference_column("accuracy − constrained (points)", 2, partial(_gap_to_constrained, "accuracy")),
    difference_column("NLL − constrained (nats)", 3, partial(_gap_to_constrained, "nll")),
    text_column("share of the accuracy gap closed", partial(_share_words, "accuracy")),
    text_column("share of the NLL gap closed", partial(_share_words, "nll")),
    training_column(),
    verdict_column("one basin"),
]
"""Columns of the chosen configurations and of the grids."""
