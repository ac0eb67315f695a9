"""The form of an answer: a table with a row for each configuration, and a count of what its intervals show."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from analysis.answers.construction_table import seeds_cell
from analysis.answers.differences import paired_difference
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import LEAST_SEEDS, counted, enough_seeds, join_names, unknown_noise
from analysis.constructions import REFERENCE, facts, label, order
from analysis.data.outcomes import By
from analysis.data.queries import Configuration, configurations, deep_reference, estimate_metric
from analysis.output.sheet import Cell, Column, Sheet
from analysis.published.sweeps import Case, hyperparameter_words
from stats.intervals import Estimate
from sweeps.storage.roles import REPORTED

Row = tuple[Case, Configuration]
Entry = tuple[Column, Callable[[Case, Configuration], Cell]]
"""A column and its cell in a row."""
FEW = f"fewer than {LEAST_SEEDS} seeds"
COARSE = "too coarse for an interval"
BOLD = "Mean ± half of the 95 % interval; bold: it excludes 0."
"""How to read a table of differences."""
SAME_STATISTICS = (
    "Same statistics: all members have their BatchNorm statistics estimated again, on the images of the paths. Where "
    "that difference is smaller, as for snapshots at a high learning rate, the rest is due to the statistics that "
    "members keep."
)
"""Note below a column of differences between path ends."""
OUTCOMES = {
    "higher": ("better", "worse", "not measurably different"),
    "lower": ("worse", "better", "not measurably different"),
    "": ("larger", "smaller", "not measurably different"),
}
"""Better direction of a metric, if it has one → words for an interval above 0, one below 0, and one that holds 0."""


def chosen_rows(cases: Iterable[Case], names: Callable[[Case], Iterable[str]]) -> list[Row]:
    """Return the chosen configurations of the constructions that `names` lists for a case."""
    return [(case, case.chosen[name]) for case in cases for name in names(case)]


def reported(case: Case, construction: str) -> list[Configuration]:
    """Return the configurations of a construction that have reported seeds, all recipes of the case's model."""
    alike = [c for c in configurations(case.tables) if (*c.setting, c.construction) == (*case.setting, construction)]
    return [c for c in alike if any(row["role"] in REPORTED for row in c.rows)]


def rivals(case: Case) -> list[str]:
    """Return the constructions that may differ from the deep ensemble of the case: all but it and its permutations."""
    chosen = case.chosen.keys()
    return [name for name in order(chosen - {REFERENCE}) if not facts(name).aligned] if REFERENCE in chosen else []


def start_word(one: Configuration) -> str:
    """Return what members start from: a shared network, or an initialisation each."""
    return "own" if one.hyperparameters.get("share_init") is False else "shared"


def case_table(rows: Sequence[Row], entries: Sequence[Entry], note: str) -> str:
    """Return a table in Markdown: sweep, dataset, model, construction if it varies, entries, seeds; then the note."""
    several = len({one.construction for _, one in rows}) > 1
    names = ("sweep", "dataset", "model", *(("construction",) if several else ()))
    columns = [*(Column(name, name, name) for name in names), *(column for column, _ in entries)]
    columns.append(Column("seeds", "seeds", "seeds"))
    lines = []
    for case, one in rows:
        place = [case.sweep.name, *case.setting, *([label(one.construction)] if several else [])]
        lines.append([*map(Cell, place), *(cell(case, one) for _, cell in entries), seeds_cell(one)])
    return Sheet(columns, [lines], note, []).markdown().rstrip()


def text_column(heading: str, text: Callable[[Case, Configuration], str | None]) -> Entry:
    """Return a column of texts; an en dash where there is none."""
    return Column(heading, heading, heading), lambda case, one: Cell(text(case, one))


def difference_column(heading: str, digits: int, gap: Callable[[Case, Configuration], Estimate | None]) -> Entry:
    """Return a column of paired differences, bold where the interval excludes 0.

    A difference over fewer than three seeds is not stated (decision 8): the cell has an en dash.
    """

    def cell(case: Case, one: Configuration) -> Cell:
        found = gap(case, one)
        if found is None or not enough_seeds(found):
            return Cell(None)
        return Cell(found, bold=side_of_zero(found) != 0, of=len(one.rows))

    return Column(heading, heading, heading, digits=digits), cell


def gap_to_deep(case: Case, one: Configuration, metric: str) -> Estimate | None:
    """Return the paired difference to the deep ensemble of the same recipe; None without one."""
    deep = deep_reference(case.tables, one)
    return None if deep is None else paired_difference(case.tables, one, deep, metric)


def deep_column(heading: str, digits: int, metric: str) -> Entry:
    """Return a column of differences to the deep ensemble."""
    return difference_column(heading, digits, lambda case, one: gap_to_deep(case, one, metric))


def place_column() -> Entry:
    """Return a column of hyperparameters: `β = 1, t = 0.02`."""
    return text_column("at", lambda _, one: hyperparameter_words(one) or "–")


def training_column() -> Entry:
    """Return a column of what an ensemble cost to train, teachers included, in units of its deep ensemble."""
    return text_column("training ÷ deep", _training_ratio)


def _training_ratio(case: Case, one: Configuration) -> str | None:
    deep = deep_reference(case.tables, one)
    mine, others = _mean_passes(one), None if deep is None else _mean_passes(deep)
    return f"{mine / others:.2f}" if mine and others else None


def _mean_passes(one: Configuration) -> float | None:
    """Return the passes of training, teachers included, as a mean over seeds; None if a row does not say."""
    passes = [row["passes"] + (row.get("teacher_passes") or 0) for row in one.rows if row.get("passes") is not None]
    return sum(passes) / len(passes) if len(passes) == len(one.rows) else None


def metric_column(heading: str, digits: int, metric: str) -> Entry:
    """Return a column of means over seeds."""
    column = Column(heading, heading, heading, digits=digits)
    return column, lambda case, one: Cell(estimate_metric(case.tables, one, metric), of=len(one.rows))


def width_column() -> Entry:
    """Return a column of widths: `×2`."""
    return text_column("width", lambda _, one: width_text(one.hyperparameters.get("width")))


def width_text(width: float | None) -> str | None:
    """Return a width as in `×2`; None without one."""
    return None if width is None else f"×{width:g}"


def verdict_column(heading: str, by: By = "accuracy") -> Entry:
    """Return a column of verdicts on the paths: `yes`, `no`, `undecided` or `not measured`."""
    return text_column(heading, lambda case, one: verdict_word(find_verdict(case.tables, one, by=by)))


def side_of_zero(gap: Estimate) -> int:
    """Return 1 or −1 if the interval lies above or below 0; 0 if it holds 0, has no width, or is unknown."""
    if gap.interval is None or unknown_noise(gap):
        return 0
    return 1 if gap.interval[0] > 0 else -1 if gap.interval[1] < 0 else 0


def count_sides(subject: str, gaps: Iterable[Estimate | None], better: str) -> str:
    """Count how many intervals show a difference: `accuracy: worse in 1 and not measurably different in 3 of 4 cases`.

    Differences over fewer than three seeds, and such as are the same for every seed, are counted apart.
    """
    above, below, neither = OUTCOMES[better]
    found = [_outcome(gap, {1: above, -1: below, 0: neither}) for gap in gaps]
    counts = Counter(found)
    named = [*sorted((above, below)), neither, COARSE, FEW]
    parts = [f"{word} in {counts[word]}" for word in named if counts[word]]
    return f"{subject}: {join_names(parts)} of {counted(len(found), 'case')}"


def _outcome(gap: Estimate | None, words: Mapping[int, str]) -> str:
    if gap is None or not enough_seeds(gap):
        return FEW
    return COARSE if unknown_noise(gap) else words[side_of_zero(gap)]


def by_construction(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by construction, in the order of tables."""
    names = order({one.construction for _, one in rows})
    return {name: [row for row in rows if row[1].construction == name] for name in names}
