"""State the deep-ensemble equivalent of each construction."""

from collections.abc import Sequence

from analysis.answers.headline import worth_sentence
from analysis.constructions import REFERENCE, order
from analysis.published.sweeps import Sweep, list_cases

TITLE = "How many deep members is each construction worth?"
NEEDS = "a sweep with `deep` ensembles of two members or more, and another construction of the same recipe"

ALIGNED = ("permuted",)
"""Constructions whose members compute what those of the deep ensemble do: worth as many, by construction."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the deep-ensemble equivalent of each construction, with its interval."""
    lines = []
    for case in list_cases(sweeps):
        for name in order(case.chosen.keys() - {REFERENCE, *ALIGNED}):
            if words := worth_sentence(case.tables, case.chosen[name]):
                seeds = {row["seed"] for row in case.chosen[name].rows}
                alone = " One seed: the interval is over its images." if len(seeds) == 1 else ""
                lines.append(f"- {case.words}: {words}{alone}")
    return ["\n".join(lines)] if lines else []
