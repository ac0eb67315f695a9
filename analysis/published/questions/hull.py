"""Judge the convex hull of pairwise connected members: is it a basin too?"""

from collections.abc import Sequence

from analysis.answers.judgements import verdict_sentences
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.constructions import connected
from analysis.published.sweeps import Sweep, list_cases

TITLE = "Is the hull of pairwise connected members a basin?"
NEEDS = "a sweep with a connected construction and `hull_points`"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Count paths and hulls in one basin, then state the verdicts of each connected construction."""
    lines, verdicts = [], []
    for case in list_cases(sweeps):
        for name in connected(case.chosen):
            one = case.chosen[name]
            hull = find_verdict(case.tables, one, hull=True)
            if hull is None:
                continue
            verdicts.append((verdict_word(find_verdict(case.tables, one)), hull.answer))
            lines.append(f"- {case.words}: {verdict_sentences(case.tables, one)}")
    if not lines:
        return []
    hulls = [hull for paths, hull in verdicts if paths == "yes"]
    count = (
        f"Of {len(verdicts)} connected constructions, {len(hulls)} have paths in one basin. Of the hulls of these, "
        f"{hulls.count('yes')} are in one basin, {hulls.count('no')} are not, {hulls.count('undecided')} are undecided."
    )
    return [count, "\n".join(lines)]
