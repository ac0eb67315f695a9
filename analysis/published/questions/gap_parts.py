"""Split the difference to the deep ensemble into its members and their diversity."""

from collections.abc import Sequence

from analysis.answers.differences import paired_difference
from analysis.answers.headline import decomposition_sentence
from analysis.answers.words import too_few
from analysis.constructions import REFERENCE, capitalised, facts, order
from analysis.published.sweeps import Sweep, list_cases

TITLE = "Is the difference to the deep ensemble due to members or to diversity?"
NEEDS = "a sweep with `deep` and `constrained` or `distilled` ensembles of one recipe, on three seeds or more"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """Split the NLL gap of each construction into its members' mean NLL and the Jensen gap."""
    lines = []
    for case in list_cases(sweeps):
        deep = case.chosen.get(REFERENCE)
        for name in order(case.chosen):
            if deep is None or REFERENCE not in facts(name).compared_with:
                continue
            words = decomposition_sentence(case.tables, case.chosen[name], deep)
            gap = paired_difference(case.tables, case.chosen[name], deep, "member_mean_nll")
            lines.append(f"- {case.words}: {words or f'{capitalised(name)} vs. deep: {too_few(gap)}.'}")
    return ["\n".join(lines)] if lines else []
