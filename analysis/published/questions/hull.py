"""Judge the convex hull of pairwise connected members: is it a basin too?"""

from collections import Counter
from collections.abc import Sequence

from analysis.answers.judgements import bound_words
from analysis.answers.verdicts import find_verdict, judge_configuration, verdict_word
from analysis.answers.words import counted
from analysis.constructions import capitalised, connected
from analysis.data.outcomes import By
from analysis.published.questions.case_tables import (
    Entry,
    Row,
    by_construction,
    case_table,
    chosen_rows,
    place_column,
    text_column,
)
from analysis.published.sweeps import Sweep, list_cases

TITLE = "Is the hull of pairwise connected members a basin?"
NEEDS = "a sweep with a connected construction and `hull_points`"
NOTE = (
    "Verdicts for these seeds, from the images of the paths, with one-sided 95 % bounds that hold for all points of a "
    "verdict together. Hull: the centroid and a few random points. yes (≤ x): the average path, or the centroid and "
    "the average random point, is at most x worse than the chord, which is less than the margin; a bound below 0 is "
    "written 0. no (≥ x): some path, or some point, of some seed is at least x worse, which is more than the margin; "
    "that may be more than the mean over seeds of the largest barrier. So yes is about the average pair: a single one "
    "may be worse. undecided: neither is shown. Paths of SWE: from each snapshot to the next."
)

HULLS = {"yes": "in one basin in", "no": "not in", "undecided": "undecided in"}
"""Verdict → how it is counted."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count paths and hulls in one basin by construction, then state the verdicts."""
    rows = chosen_rows(list_cases(sweeps), lambda case: connected(case.chosen))
    rows = [row for row in rows if find_verdict(row[0].tables, row[1], hull=True) is not None]
    if not rows:
        return []
    lines = [_count_words(name, mine) for name, mine in by_construction(rows).items()]
    entries = [
        place_column(),
        _verdict_column("paths, accuracy (points)", "accuracy"),
        _verdict_column("paths, loss (nats)", "loss"),
        _verdict_column("hull, accuracy (points)", "accuracy", hull=True),
    ]
    return ["\n".join(lines), case_table(rows, entries, NOTE)]


def _count_words(name: str, rows: Sequence[Row]) -> str:
    """Count the paths that are in one basin, and the verdicts of the hulls around these."""
    inside = [row for row in rows if verdict_word(find_verdict(row[0].tables, row[1])) == "yes"]
    hulls = Counter(verdict_word(find_verdict(case.tables, one, hull=True)) for case, one in inside)
    of_hulls = ", ".join(f"{words} {hulls[word]}" for word, words in HULLS.items() if hulls[word])
    start = f"- {capitalised(name)}: paths in one basin in {len(inside)} of {counted(len(rows), 'case')}"
    return f"{start}; their hulls: {of_hulls}." if inside else f"{start}."


def _verdict_column(heading: str, by: By, hull: bool = False) -> Entry:
    return text_column(heading, lambda case, one: bound_words(judge_configuration(case.tables, one, by=by, hull=hull)))
