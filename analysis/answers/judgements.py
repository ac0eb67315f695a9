"""Sentences about verdicts: one basin or not, the weakest pair, and the number of images that would decide."""

import math
from collections.abc import Callable

from analysis.answers.verdicts import NOT_MEASURED, Judgement, judge_configuration
from analysis.answers.words import counted, interval_ends, signed
from analysis.constructions import capitalised
from analysis.data.queries import Configuration, Tables

WORDS = {"yes": "in one basin", "no": "not in one basin", "undecided": "undecided"}


def verdict_sentences(tables: Tables, configuration: Configuration) -> str:
    """State the verdicts by accuracy, by loss and for the convex hull, or that they were not measured."""
    name = capitalised(configuration.construction)
    accuracy = judge_configuration(tables, configuration, by="accuracy")
    if accuracy is None:
        return f"{name}: whether its members lie in one basin was not measured (no per-image outcomes)."
    parts = [f"{name}: {_accuracy_words(accuracy)}."]
    if loss := judge_configuration(tables, configuration, by="loss"):
        parts.append(f"By loss: {_loss_words(loss)}.")
    if hull := judge_configuration(tables, configuration, by="accuracy", hull=True):
        parts.append(_hull_sentence(hull))
    return " ".join(parts)


def bound_words(judgement: Judgement | None) -> str:
    """Format a verdict with the bound that decides it: `yes (≤ 0.1)`, `no (≥ 22.2)`, `undecided`."""
    if judgement is None:
        return NOT_MEASURED
    limits, answer = judgement.verdict.bounds, judgement.verdict.answer
    if answer == "yes":
        upper = max(_outward(limits.upper, judgement.digits, math.ceil), 0.0)
        return f"yes (≤ {upper:.{judgement.digits}f})"
    if answer == "no":
        return f"no (≥ {_outward(limits.lower, judgement.digits, math.floor):.{judgement.digits}f})"
    return answer


def _accuracy_words(judgement: Judgement) -> str:
    limits, margin = judgement.verdict.bounds, f"margin {judgement.verdict.margin:.2g}"
    seeds = "this seed" if limits.seeds == 1 else f"these {limits.seeds} seeds"
    start = f"{WORDS[judgement.verdict.answer]} by accuracy ({seeds}, {limits.images:,} images)"
    if judgement.verdict.answer == "no":
        lower = _lower_bound(judgement)
        return f"{start}; some path is at least {lower} below the chord ({margin}); {_weakest_cell(judgement)}"
    needed = f", and {_images_needed(judgement)}" if judgement.verdict.answer == "undecided" else ""
    return f"{start}; the average path is {_upper_bound(judgement)} ({margin}){needed}; {_weakest_cell(judgement)}"


def _loss_words(judgement: Judgement) -> str:
    answer, margin = judgement.verdict.answer, f"margin {judgement.verdict.margin:.2g}"
    if answer == "no":
        lower = _lower_bound(judgement)
        return f"{WORDS[answer]} (some path is at least {lower} above the chord, {margin}; {_weakest_cell(judgement)})"
    needed = f", {_images_needed(judgement)}" if answer == "undecided" else ""
    return f"{WORDS[answer]} (the average path is {_upper_bound(judgement)}, {margin}{needed})"


def _hull_sentence(judgement: Judgement) -> str:
    answer = judgement.verdict.answer
    if answer == "no":
        lower = _lower_bound(judgement)
        return f"The hull is not a basin: some point is at least {lower} below the chord; {_weakest_cell(judgement)}."
    needed = f", {_images_needed(judgement)}" if answer == "undecided" else ""
    return f"Its hull: {WORDS[answer]} (centroid and average random point are {_upper_bound(judgement)}{needed})."


def _lower_bound(judgement: Judgement) -> str:
    return f"{_with_unit(judgement, _outward(judgement.verdict.bounds.lower, judgement.digits, math.floor))} (95 %)"


def _weakest_cell(judgement: Judgement) -> str:
    """Name the cell with the largest loss, and give that loss with its interval."""
    limits, kind = judgement.verdict.bounds, "point" if judgement.hull else "pair"
    ends = f"simultaneous 95 % CI {interval_ends(limits.weakest_low, limits.weakest_high, judgement.digits)}"
    mean = _with_unit(judgement, limits.weakest_mean)
    return f"weakest {kind}: {judgement.weakest} of seed {judgement.seed}, {mean} ({ends})"


def _upper_bound(judgement: Judgement) -> str:
    """State the upper bound of the average loss."""
    upper = judgement.verdict.bounds.upper
    if upper <= 0:
        return "nowhere worse than the chord"
    return f"at most {_with_unit(judgement, _outward(upper, judgement.digits, math.ceil))} worse than the chord"


def _outward(value: float, digits: int, to_integer: Callable[[float], int]) -> float:
    """Round a bound so that it still holds: a lower one down, an upper one up."""
    scale = 10.0**digits
    return to_integer(round(value * scale, 6)) / scale


def _with_unit(judgement: Judgement, value: float) -> str:
    return f"{signed(value, judgement.digits)} {judgement.unit}"


def _images_needed(judgement: Judgement) -> str:
    images = judgement.verdict.needed
    if images is None:
        return "too close to the margin for any number of images to decide"
    return f"about {counted(images, 'image')} would decide"
