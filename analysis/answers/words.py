"""Format numbers, intervals, differences and lists for sentences."""

from collections.abc import Sequence

from stats.intervals import Estimate, Share

LEAST_SEEDS = 3
"""Minimum number of seeds for stating a difference."""
TOO_FEW = "too few seeds"
"""Words of a sentence that has no difference to state."""


def signed(value: float, digits: int) -> str:
    """Format a number with a true minus sign, and without one before zeros."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def sample_size(number: Estimate | Share) -> str:
    """Format the sample size of an estimate: `3 seeds`, or `3 seeds and 1,797 images`."""
    return counted(number.n, "seed") + (f" and {number.images:,} images" if number.images > 1 else "")


def counted(number: int, noun: str) -> str:
    """Format a count with its noun: `1 seed`, `5 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def interval_ends(low: float, high: float, digits: int) -> str:
    """Format the ends of an interval: `−0.20 to 0.44`."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def join_names(names: Sequence[str]) -> str:
    """Join names as in a sentence: `swe, constrained and deep`; an empty text for none."""
    if not names:
        return ""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def unknown_noise(gap: Estimate) -> bool:
    """Tell whether a difference is the same for every seed, so that its interval has no width.

    Coarse metrics and few seeds give such differences; an interval without width claims too much.
    """
    return gap.half is not None and gap.half <= 1e-12 * max(1.0, abs(gap.mean))


def enough_seeds(number: Estimate | Share | None) -> bool:
    """Tell whether there are enough seeds in common to state a difference (decision 8)."""
    return number is not None and number.n >= LEAST_SEEDS


def too_few(number: Estimate | Share | None) -> str:
    """State that there are too few seeds in common, without the difference."""
    return f"{TOO_FEW} (need {LEAST_SEEDS} in common, have {0 if number is None else number.n})"


HIGHER = {"": ("higher", "lower"), "higher": ("better", "worse"), "lower": ("worse", "better")}
"""Better direction of a metric → words for a difference above 0, and below 0."""


def in_words(x: str, y: str, gap: Estimate | None, unit: str, digits: int = 2, better: str = "") -> str:
    """State the difference x − y, with its direction only if the interval excludes 0.

    `better` is "higher" or "lower" for a metric of which one is better, and empty for one that only describes.
    """
    if gap is None or not enough_seeds(gap) or gap.half is None:
        return f"{x} vs. {y}: {too_few(gap)}"
    size = f"{signed(gap.mean, digits)} {unit}".strip()
    if unknown_noise(gap):
        return f"{x} vs. {y}: {size} for each of {gap.n} seeds, too coarse for an interval"
    low, high = gap.mean - gap.half, gap.mean + gap.half
    if low <= 0 <= high:
        ends = interval_ends(low, high, digits)
        return f"{x} vs. {y}: no measurable difference, {size} (95 % CI {ends}, {sample_size(gap)})"
    direction = HIGHER[better][low < 0]
    near, far = sorted((abs(low), abs(high)))
    size = f"{abs(gap.mean):.{digits}f} {unit}".strip()
    return f"{x} is {size} {direction} than {y} (95 % CI {near:.{digits}f} to {far:.{digits}f}, {sample_size(gap)})"
