"""Judge the convex hull of pairwise connected members: is it a basin too?"""

from collections.abc import Sequence

from analysis.answers.judgements import bound_words
from analysis.answers.verdicts import find_verdict, judge_configuration, verdict_word
from analysis.answers.words import counted
from analysis.constructions import connected
from analysis.data.outcomes import By
from analysis.published.questions.case_tables import Entry, case_table, chosen_rows, place_column, text_column
from analysis.published.sweeps import Sweep, list_cases

TITLE = "Is the hull of pairwise connected members a basin?"
NEEDS = "a sweep with a connected construction and `hull_points`"
NOTE = (
    "Verdicts for these seeds, from the images of the paths, with one-sided 95 % bounds that hold for all points of a "
    "verdict together. Hull: the centroid and a few random points. yes (≤ x): the average path, or the centroid and "
    "the average random point, is at most x worse than the chord, which is less than the margin; a bound below 0 is "
    "written 0. no (≥ x): some path, or some point, is at least x worse, which is more than the margin. So yes is "
    "about the average pair: a single one may be worse. undecided: neither is shown."
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count paths and hulls in one basin, then state the verdicts of each connected construction."""
    rows = chosen_rows(list_cases(sweeps), lambda case: connected(case.chosen))
    judged = [(row, find_verdict(row[0].tables, row[1], hull=True)) for row in rows]
    rows = [row for row, hull in judged if hull is not None]
    if not rows:
        return []
    hulls = [
        hull.answer
        for (case, one), hull in judged
        if hull is not None and verdict_word(find_verdict(case.tables, one)) == "yes"
    ]
    count = (
        f"Of {counted(len(rows), 'ensemble')} built to lie in one basin, paths do in {len(hulls)}. Of their hulls, in "
        f"one basin: {hulls.count('yes')}; not: {hulls.count('no')}; undecided: {hulls.count('undecided')}."
    )
    entries = [
        place_column(),
        _verdict_column("paths, accuracy (points)", "accuracy"),
        _verdict_column("paths, loss (nats)", "loss"),
        _verdict_column("hull, accuracy (points)", "accuracy", hull=True),
    ]
    return [count, case_table(rows, entries, NOTE)]


def _verdict_column(heading: str, by: By, hull: bool = False) -> Entry:
    return text_column(heading, lambda case, one: bound_words(judge_configuration(case.tables, one, by=by, hull=hull)))
