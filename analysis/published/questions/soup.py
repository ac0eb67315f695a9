"""Compare the soup, one network at 1/K of the inference cost, with members and ensemble."""

from collections.abc import Sequence
from functools import partial

from analysis.answers.differences import paired_difference
from analysis.answers.midpoints import member_accuracy
from analysis.constructions import connected, label, order
from analysis.data.queries import Configuration, estimate_metric
from analysis.output.sheet import Cell, Column
from analysis.published.questions.case_tables import (
    BOLD,
    Entry,
    Row,
    case_table,
    chosen_rows,
    count_sides,
    difference_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases
from stats.intervals import Estimate

TITLE = "What is the soup worth?"
NEEDS = "a sweep with a connected construction of two members or more"
NOTE = (
    "Soup: the centroid as one network, at 1/K of the inference cost, with BatchNorm statistics estimated again; "
    "members keep those of their training. Mean member, again: with statistics estimated again, on the images of the "
    "paths. Where it is better than the mean member, as for snapshots at a high learning rate, part of the soup's "
    f"gain comes from the statistics. {BOLD}"
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count where the soup beats the mean member and the ensemble, then state the differences for each case."""
    rows = chosen_rows(list_cases(sweeps), lambda case: connected(case.chosen))
    rows = [row for row in rows if _has_soup(*row)]
    if not rows:
        return []
    entries: list[Entry] = [
        (Column("soup", "soup (%)", ""), partial(_score, "soup_accuracy")),
        (Column("member", "mean member (%)", ""), partial(_score, "member_mean_accuracy")),
        (Column("ends", "mean member, again (%)", ""), _member_at_ends),
        difference_column("soup − mean member (points)", 2, _gap_to_member),
        difference_column("soup − ensemble (points)", 2, _gap_to_ensemble),
        difference_column("NLL of soup − of ensemble (nats)", 3, _nll_gap),
    ]
    names = order({one.construction for _, one in rows})
    lines = [_count_words(name, [row for row in rows if row[1].construction == name]) for name in names]
    return ["\n".join(lines), case_table(rows, entries, NOTE)]


def _score(metric: str, case: Case, one: Configuration) -> Cell:
    return Cell(estimate_metric(case.tables, one, metric))


def _member_at_ends(case: Case, one: Configuration) -> Cell:
    return Cell(member_accuracy(case.tables, one))


def _has_soup(case: Case, one: Configuration) -> bool:
    several = (one.hyperparameters.get("members") or 0) > 1
    return several and estimate_metric(case.tables, one, "soup_accuracy") is not None


def _count_words(name: str, rows: Sequence[Row]) -> str:
    start = f"- Soup of {label(name)} ensembles vs. mean member, accuracy"
    against_member = count_sides(start, [_gap_to_member(*row) for row in rows], "higher")
    against_ensemble = count_sides("vs. ensemble", [_gap_to_ensemble(*row) for row in rows], "higher")
    return f"{against_member}; {against_ensemble}."


def _gap_to_member(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, one, "soup_accuracy", "member_mean_accuracy")


def _gap_to_ensemble(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, one, "soup_accuracy", "accuracy")


def _nll_gap(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, one, "soup_nll", "nll")
