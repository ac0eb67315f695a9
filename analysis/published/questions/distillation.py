"""State the share of the gap that distillation closes, by temperature τ and constraint strength β."""

from collections.abc import Sequence

from analysis.answers.construction_table import seeds_cell
from analysis.answers.differences import paired_difference, share_closed
from analysis.answers.headline import METRICS, accuracy_sentence, closed_sentence
from analysis.answers.power import power_sentence
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import interval_ends
from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, configuration_families
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet
from analysis.published.sweeps import Case, Sweep, hyperparameter_words, list_cases
from stats.intervals import Share

TITLE = "How much does distillation give back?"
NEEDS = (
    "a sweep with `deep`, `constrained` and `distilled` ensembles of one recipe; "
    "a grid of `temperature` and `beta` for where"
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the closed share of the gap for the configuration that validation chooses, then a table of its grid."""
    lines, tables = [], []
    for case in list_cases(sweeps):
        if {REFERENCE, "constrained", "distilled"} <= case.chosen.keys():
            lines.append(f"- {case.words}: {_closed_sentences(case)}")
            tables += _grid_table(case)
    return ["\n".join(lines), *tables] if lines else []


def _closed_sentences(case: Case) -> str:
    tables, mine, deep = case.tables, case.chosen["distilled"], case.chosen[REFERENCE]
    parts = [closed_sentence(tables, case.chosen, metric) for metric in METRICS]
    parts += [accuracy_sentence(tables, mine, deep), power_sentence(tables, mine, deep, "accuracy")]
    return f"At {hyperparameter_words(mine)}: {' '.join(part for part in parts if part)}"


def _grid_table(case: Case) -> list[str]:
    """Return the table of a sweep's distilled configurations by τ and β; nothing for a single one."""
    try:
        families = configuration_families(case.tables, "distilled", ["temperature", "beta"])
    except Missing:
        return []
    family = families.get(case.setting, [])
    if not family or "search" in {row["role"] for row in family[0].rows}:
        return []
    columns = [Column(name, name, name, digits=2) for name in ("τ", "β", "seeds")]
    columns += [Column("gap", "accuracy − deep (points)", "gap", digits=2)]
    columns += [Column(name, f"share of the {words} closed", name) for name, (words, _) in METRICS.items()]
    columns += [Column("basin", "one basin", "basin")]
    rows = []
    for one in sorted(family, key=lambda c: (c.hyperparameters["temperature"], c.hyperparameters["beta"])):
        place = [Cell(f"{one.hyperparameters[name]:.3g}") for name in ("temperature", "beta")]
        gap = paired_difference(case.tables, one, case.chosen[REFERENCE], "accuracy")
        shares = [Cell(_share_words(_share(case, one, metric))) for metric in METRICS]
        basin = Cell(verdict_word(find_verdict(case.tables, one)))
        rows.append([*place, seeds_cell(one), Cell(gap, of=len(one.rows)), *shares, basin])
    note = f"{case.words}: distilled ensembles by τ and β. Mean ± half of the 95 % interval; shares with their 95 % CI."
    return [Sheet(columns, [rows], note, []).markdown().rstrip()]


def _share(case: Case, distilled: Configuration, metric: str) -> Share | None:
    low, high = case.chosen["constrained"], case.chosen[REFERENCE]
    return share_closed(case.tables, low=low, between=distilled, high=high, metric=metric)


def _share_words(share: Share | None) -> str:
    """Format a share in percent: `62 % (40 to 85)`; `no gap` where it has no ends."""
    if share is None:
        return "–"
    if share.interval is None or share.value is None:
        return "no gap"
    return f"{100 * share.value:.0f} % ({interval_ends(100 * share.interval[0], 100 * share.interval[1], 0)})"
