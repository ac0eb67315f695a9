"""Outliers: values beyond Tukey's far fence."""

import numpy as np
from numpy.typing import ArrayLike


def far_fence(values: ArrayLike, least: float = 0.0) -> float:
    """Return Tukey's lower far fence: the first quartile minus three interquartile ranges.

    The range counts as `least` or more. Raises ValueError without values.
    """
    if not np.size(values):
        raise ValueError("no values: expected at least one")
    low, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 75])
    return float(low - 3 * max(high - low, least))
