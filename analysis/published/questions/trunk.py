"""Where branches of one trunk lie in one basin: by the time parameter t, and by constraint strength β."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from analysis.answers.differences import paired_difference
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import enough_seeds, in_words, join_names
from analysis.data.queries import Configuration, configurations, recipe_values, shared_names
from analysis.published.questions.case_tables import (
    BOLD,
    Row,
    case_table,
    deep_column,
    metric_column,
    reported,
    start_word,
    text_column,
    training_column,
    verdict_column,
)
from analysis.published.sweeps import Case, Sweep, list_cases

TITLE = "From which t on are branches in one basin?"
NEEDS = "a sweep with `constrained` ensembles; a grid of `t` and `beta` for where"
FIGURES = ("time_parameter", "constraint_effect")
SYMBOLS = {"t": "t", "beta": "β"}
"""Axis of a line → its symbol."""
Judged = tuple[Configuration, str]
"""A configuration with its verdict: yes, no or undecided."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State from which t on, and from which β on, all are certified; then every configuration."""
    rows = [row for case in list_cases(sweeps) for row in _branches(case)]
    if not rows:
        return []
    lines = [words for case in list_cases(sweeps) for axis in SYMBOLS for words in _line_sentences(case, axis)]
    entries = [
        text_column("β", lambda _, one: f"{one.hyperparameters['beta']:.3g}"),
        text_column("t", lambda _, one: f"{one.hyperparameters['t']:.3g}"),
        text_column("start", lambda _, one: start_word(one)),
        deep_column("accuracy − deep (points)", 2, "accuracy"),
        metric_column("largest barrier (points)", 1, "barrier"),
        verdict_column("one basin"),
        verdict_column("by loss", "loss"),
        training_column(),
    ]
    note = (
        f"Constrained ensembles. Start: shared by all members, or an initialisation each. {BOLD} A largest barrier is "
        "the largest of several noisy numbers, and above 0 even in one basin."
    )
    return [*(["\n".join(lines)] if lines else []), case_table(rows, entries, note)]


def _branches(case: Case) -> list[Row]:
    """Return the reported constrained configurations, by start, β and t."""
    found = [c for c in reported(case, "constrained") if {"t", "beta"} <= c.hyperparameters.keys()]
    values = {id(c): (start_word(c), float(c.hyperparameters["beta"]), float(c.hyperparameters["t"])) for c in found}
    return [(case, c) for c in sorted(found, key=lambda c: (values[id(c)][0] != "shared", values[id(c)]))]


def _line_sentences(case: Case, axis: str) -> list[str]:
    """Say for each line along an axis, all else the same, from which value on all are in one basin."""
    other = next(name for name in SYMBOLS if name != axis)
    lines: dict[Any, list[Configuration]] = defaultdict(list)
    for _, one in _branches(case):
        kind = one.hyperparameters.get("constraint", "–")
        recipe = recipe_values(one, shared_names(configurations(case.tables)))
        lines[start_word(one), str(kind), float(one.hyperparameters[other]), recipe].append(one)
    sentences = []
    for (start, kind, value, _), line in lines.items():
        ordered = sorted(line, key=lambda one: float(one.hyperparameters[axis]))
        constrained = any(float(one.hyperparameters["beta"]) for one in line)
        place = f"{SYMBOLS[other]} = {value:.3g}, {f'constraint {kind}, ' if constrained else ''}{start} start"
        verdicts = [(one, verdict_word(find_verdict(case.tables, one))) for one in ordered]
        judged = _judged(verdicts)
        if words := _line_words(axis, judged):
            sentences.append(f"- {case.words}, {place}: {words}.{_end_words(case, axis, _certified(judged))}")
    return sentences


def _judged(verdicts: Sequence[Judged]) -> list[Judged]:
    """Leave out configurations whose paths were not measured."""
    return [(one, word) for one, word in verdicts if word in ("yes", "no", "undecided")]


def _certified(judged: Sequence[Judged]) -> list[Configuration]:
    """Return the configurations beyond the last one that is not shown to be in one basin."""
    refused = [number for number, (_, word) in enumerate(judged) if word != "yes"]
    return [one for one, _ in judged[max(refused, default=-1) + 1 :]]


def _end_words(case: Case, axis: str, certified: Sequence[Configuration]) -> str:
    """Compare the accuracies at both ends of what is in one basin, paired; nothing for fewer than two of them."""
    if len(certified) < 2:
        return ""
    gap = paired_difference(case.tables, certified[-1], certified[0], "accuracy")
    if not enough_seeds(gap):
        return ""
    last, first = (f"at {SYMBOLS[axis]} = {one.hyperparameters[axis]:.3g}" for one in (certified[-1], certified[0]))
    return f" {in_words(f'Accuracy {last}', first, gap, 'points', 2, 'higher')}."


def _line_words(axis: str, judged: Sequence[Judged]) -> str:
    """Name the least value from which on all are in one basin; nothing if fewer than two were decided."""
    if len(judged) < 2:
        return ""
    symbol, certified = SYMBOLS[axis], _certified(judged)
    values = [f"{one.hyperparameters[axis]:.3g}" for one, _ in judged]
    tried = join_names(values)
    if not certified:
        return f"not certified at {symbol} = {values[-1]}, the largest of {tried}"
    if len(certified) == len(judged):
        return f"in one basin at every {symbol} that was tried, {tried}"
    return f"in one basin from {symbol} = {certified[0].hyperparameters[axis]:.3g} on (of {tried})"
