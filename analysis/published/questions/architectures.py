"""Compare the cost of connectivity between models on the same images: ResNet against ViT."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from analysis.answers.differences import estimate_values, paired_samples
from analysis.answers.power import needed_words
from analysis.answers.words import in_words
from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, deep_reference
from analysis.published.questions.case_tables import Row, reported, start_word
from analysis.published.questions.connectivity_cost import POINT
from analysis.published.sweeps import Case, Sweep, hyperparameter_words, list_cases

TITLE = "ResNet against ViT: does the model matter?"
NEEDS = (
    "sweeps with `deep` and `constrained` ensembles of two models on the same images, for as many epochs, at the same "
    "β and t"
)
CONNECTED = "constrained"
METRICS = (("accuracy", "points", 2, "higher"), ("nll", "nats", 3, "lower"))
ALIKE = ("data_hash", "train_size", "epochs", "beta", "t", "constraint")
"""Columns that two models must have in common."""


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the difference between two models' gaps to their deep ensembles, for each pair of models of a dataset."""
    lines = []
    for by_model in _by_place(list_cases(sweeps)).values():
        for first, second in combinations(by_model.values(), 2):
            lines += [_difference_sentence(first, second, *metric) for metric in METRICS]
    lines = [line for line in lines if line]
    return ["\n".join(lines)] if lines else []


def _by_place(cases: Sequence[Case]) -> dict[tuple[object, ...], dict[str, Row]]:
    """Return the constrained ensembles of the same images, budget, β and t by model; of several, that of most seeds."""
    chosen: dict[tuple[object, ...], dict[str, Row]] = defaultdict(dict)
    for case in cases:
        if REFERENCE not in case.chosen:
            continue
        for one in reported(case, CONNECTED):
            place = case.setting[0], start_word(one), *(str(one.rows[0].get(name)) for name in ALIKE)
            known = chosen[place].get(case.setting[1])
            if known is None or len(one.rows) > len(known[1].rows):
                chosen[place][case.setting[1]] = case, one
    return chosen


def _difference_sentence(first: Row, second: Row, metric: str, unit: str, digits: int, better: str) -> str:
    """Compare constrained − deep of two models. Seeds of different models are independent: any pairing is as good."""
    gaps = [_gap(*row, metric) for row in (first, second)]
    if any(gap is None for gap in gaps):
        return ""
    mine, other = (gap for gap in gaps if gap is not None)
    seeds = min(len(mine), len(other))
    if mine.shape[1] != other.shape[1]:  # one of them has no outcomes, or others
        mine, other = mine.mean(axis=1, keepdims=True), other.mean(axis=1, keepdims=True)
    (case, one), (another, _) = first, second
    words = in_words(
        f"constrained − deep of {case.setting[1]} ({metric})", f"that of {another.setting[1]}",
        estimate_values(mine[:seeds] - other[:seeds]), unit, digits, better,
    )  # fmt: skip
    place = f"{case.setting[0]}, {hyperparameter_words(one)}"
    needed = needed_words(mine[:seeds] - other[:seeds], POINT) if metric == "accuracy" else None
    power = f" A difference of {POINT:g} point would take {needed} seeds." if needed and needed.isdigit() else ""
    return f"- **{case.sweep.name}** and **{another.sweep.name}** ({place}): {words}.{power}"


def _gap(case: Case, one: Configuration, metric: str) -> np.ndarray | None:
    deep = deep_reference(case.tables, one)
    values = None if deep is None else paired_samples(case.tables, [one, deep], [metric] * 2)
    return None if values is None else values[0] - values[1]
