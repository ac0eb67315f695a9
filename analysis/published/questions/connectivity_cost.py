"""Compare connected ensembles, without a teacher, with the deep ensemble: the cost of connectivity."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.answers.headline import accuracy_sentence
from analysis.answers.power import power_sentence
from analysis.answers.words import TOO_FEW, in_words
from analysis.constructions import REFERENCE, capitalised
from analysis.published.sweeps import Case, Sweep, list_cases

TITLE = "What does connectivity cost?"
NEEDS = "a sweep with `deep` and `constrained` or `swe` ensembles of one recipe, on three seeds or more"
CONNECTED = ("constrained", "swe")
"""Constructions whose only teacher is the labels."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the difference to the deep ensemble in accuracy and NLL, by sweep, dataset and model."""
    lines = []
    for case in list_cases(sweeps):
        measured = [name for name in CONNECTED if {name, REFERENCE} <= case.chosen.keys()]
        lines += [f"- {case.words}: {cost_sentences(case, name)}" for name in measured]
    return ["\n".join(lines)] if lines else []


def cost_sentences(case: Case, name: str) -> str:
    """State what a construction loses against the deep ensemble, and what it would take to tell."""
    tables, mine, deep = case.tables, case.chosen[name], case.chosen[REFERENCE]
    if TOO_FEW in (words := accuracy_sentence(tables, mine, deep)):
        return words
    nll = in_words(capitalised(name), "deep", paired_difference(tables, mine, deep, "nll"), "nats of NLL", 3, "lower")
    parts = [
        words,
        power_sentence(tables, mine, deep, "accuracy"),
        f"{nll}.",
        power_sentence(tables, mine, deep, "nll"),
    ]
    return " ".join(part for part in parts if part)
