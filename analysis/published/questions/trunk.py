"""From which t on branches of one trunk lie in one basin, by constraint strength β."""

from collections.abc import Sequence
from itertools import groupby

from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import counted, join_names
from analysis.data.queries import Configuration, configurations
from analysis.published.sweeps import Case, Sweep, list_cases
from sweeps.storage.roles import REPORTED

TITLE = "From which t on are branches in one basin?"
NEEDS = "a sweep with `constrained` ensembles; a grid of `t` and `beta` for where"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the verdict of each t, by β, and the least t from which on all are certified."""
    lines = []
    for case in list_cases(sweeps):
        for (beta, kind), line in groupby(sorted(_branches(case), key=_line_of), key=_line_of):
            words = _line_words(case, sorted(line, key=lambda c: float(c.hyperparameters["t"])))
            if words:
                lines.append(f"- {case.words}, β = {beta:.3g}, constraint {kind}: {words}.")
    return ["\n".join(lines)] if lines else []


def _branches(case: Case) -> list[Configuration]:
    return [
        c
        for c in configurations(case.tables)
        if c.setting == case.setting
        and c.construction == "constrained"
        and {"t", "beta"} <= c.hyperparameters.keys()
        and any(row["role"] in REPORTED for row in c.rows)
    ]


def _line_of(configuration: Configuration) -> tuple[float, str]:
    values = configuration.hyperparameters
    return float(values["beta"]), str(values.get("constraint", "–"))


def _line_words(case: Case, line: Sequence[Configuration]) -> str:
    """Say which t are in one basin; nothing if none was decided."""
    verdicts = [(float(c.hyperparameters["t"]), verdict_word(find_verdict(case.tables, c))) for c in line]
    judged = [(t, word) for t, word in verdicts if word in ("yes", "no", "undecided")]
    if not judged:
        return ""
    seeds = counted(max(len(c.rows) for c in line), "seed")
    each = join_names([f"t = {t:.3g} {word}" for t, word in judged])
    refused = [t for t, word in judged if word != "yes"]
    certified = [t for t, _ in judged if not refused or t > max(refused)]
    if certified and len(judged) > 1:
        return f"in one basin from t = {min(certified):.3g} on ({each}; {seeds})"
    return f"in one basin: {each} ({seeds})"
