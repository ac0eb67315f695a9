"""Compare the soup, one network at 1/K of the inference cost, with members and ensemble."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.constructions import connected, label
from analysis.data.queries import Configuration, estimate_metric
from analysis.published.questions.case_tables import (
    BOLD,
    Row,
    by_construction,
    case_table,
    chosen_rows,
    count_sides,
    difference_column,
    metric_column,
    place_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases
from stats.intervals import Estimate

TITLE = "What is the soup worth?"
NEEDS = "a sweep with a connected construction of two members or more"
NOTE = (
    "Soup: the centroid as one network, at 1/K of the inference cost, with BatchNorm statistics estimated again; "
    "members keep those of their training. Same statistics: all have them estimated again, on the images of the paths "
    "(without BatchNorm it differs by its images alone). Where that difference is smaller, as for snapshots at a high "
    f"learning rate, the rest of the soup's gain is that of statistics. {BOLD}"
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count where the soup beats the mean member and the ensemble, then state the differences for each case."""
    rows = chosen_rows(list_cases(sweeps), lambda case: connected(case.chosen))
    rows = [row for row in rows if _has_soup(*row)]
    if not rows:
        return []
    entries = [
        place_column(),
        metric_column("soup (%)", 2, "soup_accuracy"),
        metric_column("mean member (%)", 2, "member_mean_accuracy"),
        difference_column("soup − mean member (points)", 2, _gap_to_member),
        difference_column("same statistics (points)", 2, _gap_alike),
        difference_column("soup − ensemble (points)", 2, _gap_to_ensemble),
        difference_column("NLL of soup − of ensemble (nats)", 3, _nll_gap),
    ]
    lines = [_count_words(name, mine) for name, mine in by_construction(rows).items()]
    return ["\n".join(lines), case_table(rows, entries, NOTE)]


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


def _gap_alike(case: Case, one: Configuration) -> Estimate | None:
    return estimate_metric(case.tables, one, "centroid_gap")


def _gap_to_ensemble(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, one, "soup_accuracy", "accuracy")


def _nll_gap(case: Case, one: Configuration) -> Estimate | None:
    return paired_difference(case.tables, one, one, "soup_nll", "nll")
