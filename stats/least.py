"""The least number that is enough, found by doubling and halving."""

from collections.abc import Callable


def least_number(enough: Callable[[int], bool], first: int, most: int) -> int | None:
    """Return the least number from `first` on that is enough; None above `most`. Larger numbers must be enough too."""
    low = high = first
    if enough(first):
        return first
    while not enough(high := min(2 * high, most)):
        if high == most:
            return None
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
