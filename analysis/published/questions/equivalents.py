"""How many deep members each construction is worth (deep-ensemble equivalent)."""

from collections.abc import Sequence

from analysis.answers.headline import worth_sentence
from analysis.constructions import REFERENCE, order
from analysis.published.sweeps import Sweep, list_cases

TITLE = "How many deep members is each construction worth?"
NEEDS = "a sweep with `deep` ensembles of two members or more, and another construction of the same recipe"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the deep-ensemble equivalent of each construction, with its interval."""
    lines = []
    for case in list_cases(sweeps):
        names = order(case.chosen.keys() - {REFERENCE})
        sentences = [worth_sentence(case.tables, case.chosen[name]) for name in names]
        lines += [f"- {case.words}: {words}" for words in sentences if words]
    return ["\n".join(lines)] if lines else []
