"""Distance between members in weight space."""

from collections.abc import Iterable

import torch

from basin import stack
from basin.stack import Stack


def member_distance(members: Stack, names: Iterable[str]) -> float:
    """Return the mean distance ‖θ_i − θ_j‖ over all pairs of members, in units of their root-mean-square norm.

    Of the named tensors, the trained ones: buffers are no coordinates of weight space. 0 for one member. BatchNorm
    scales stay near 1 in every network: they add to the norm and not to the distance, so that independent networks are
    below √2.
    """
    weights = stack.flatten_weights(members, names).double()
    if len(weights) < 2:
        return 0.0
    return float(torch.pdist(weights).mean() / weights.square().sum(dim=1).mean().sqrt())
