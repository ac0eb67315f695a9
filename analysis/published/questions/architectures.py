"""Compare the cost of connectivity between models on the same images: ResNet against ViT."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from analysis.answers.differences import estimate_values, paired_samples
from analysis.answers.words import in_words
from analysis.constructions import REFERENCE
from analysis.published.sweeps import Case, Sweep, list_cases

TITLE = "ResNet against ViT: does the model matter?"
NEEDS = "sweeps with `deep` and `constrained` ensembles of two models on the same images, for as many epochs"
CONNECTED = "constrained"


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the difference between two models' gaps to their deep ensembles, for each pair of models of a dataset."""
    lines = []
    for cases in _by_images(list_cases(sweeps)).values():
        for first, second in combinations(cases, 2):
            lines += [_difference_sentence(first, second, *metric) for metric in METRICS]
    lines = [line for line in lines if line]
    return ["\n".join(lines)] if lines else []


METRICS = (("accuracy", "points", 2, "higher"), ("nll", "nats", 3, "lower"))


def _by_images(cases: Sequence[Case]) -> dict[tuple[str, ...], list[Case]]:
    """Return the cases of the same images and budget, one for each model: the one with most seeds."""
    chosen: dict[tuple[str, ...], dict[str, Case]] = defaultdict(dict)
    for case in cases:
        if {REFERENCE, CONNECTED} <= case.chosen.keys():
            row = case.chosen[REFERENCE].rows[0]
            images = case.setting[0], *(str(row.get(name)) for name in ("data_hash", "train_size", "epochs"))
            known = chosen[images].get(case.setting[1])
            if known is None or _seed_count(case) > _seed_count(known):
                chosen[images][case.setting[1]] = case
    return {images: list(by_model.values()) for images, by_model in chosen.items()}


def _seed_count(case: Case) -> int:
    return min(len(case.chosen[name].rows) for name in (REFERENCE, CONNECTED))


def _difference_sentence(first: Case, second: Case, metric: str, unit: str, digits: int, better: str) -> str:
    """Compare constrained − deep of two models. Seeds of different models are independent: any pairing is as good."""
    gaps = [_gap(case, metric) for case in (first, second)]
    if any(gap is None for gap in gaps):
        return ""
    mine, other = (gap for gap in gaps if gap is not None)
    seeds = min(len(mine), len(other))
    if mine.shape[1] != other.shape[1]:  # one of them has no outcomes, or others
        mine, other = mine.mean(axis=1, keepdims=True), other.mean(axis=1, keepdims=True)
    words = in_words(
        f"constrained − deep of {first.setting[1]} ({metric})", f"that of {second.setting[1]}",
        estimate_values(mine[:seeds] - other[:seeds]), unit, digits, better,
    )  # fmt: skip
    return f"- **{first.sweep.name}** and **{second.sweep.name}** ({first.setting[0]}): {words}."


def _gap(case: Case, metric: str) -> np.ndarray | None:
    values = paired_samples(case.tables, [case.chosen[CONNECTED], case.chosen[REFERENCE]], [metric] * 2)
    return None if values is None else values[0] - values[1]
