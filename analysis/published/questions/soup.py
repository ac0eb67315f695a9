"""Compare the soup, one network at 1/K of the inference cost, with members and ensemble."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.answers.headline import soup_sentence
from analysis.answers.words import in_words
from analysis.constructions import connected
from analysis.published.sweeps import Sweep, list_cases

TITLE = "What is the soup worth?"
NEEDS = "a sweep with a connected construction of two members or more"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Compare the soup of each connected ensemble with its mean member and with the ensemble."""
    lines = []
    for case in list_cases(sweeps):
        for name in connected(case.chosen):
            one = case.chosen[name]
            if words := soup_sentence(case.tables, one):
                gap = paired_difference(case.tables, one, one, "soup_nll", "nll")
                nll = in_words("the soup", "the ensemble", gap, "nats", 3, "lower")
                lines.append(f"- {case.words}: {words} By NLL, {nll}.")
    return ["\n".join(lines)] if lines else []
