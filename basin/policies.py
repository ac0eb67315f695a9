"""What is done about the BatchNorm statistics of a mixed network: a part of the name of every connectivity number."""

from collections.abc import Callable

from torch import Tensor

from basin import stack
from basin.alignment.repair import moments, repaired
from basin.data import Data
from basin.evaluation import reset
from basin.network import Network
from basin.stack import Params, Stack

Mixer = Callable[[Tensor], Params]
"""Row of the mixing matrix [K] → the network, ready to predict."""
Policy = Callable[[Network, Stack, Data, int | None], Mixer]
"""(network, members, data, training images to estimate from) → mixer."""


def with_reset(network: Network, members: Stack, data: Data, count: int | None) -> Mixer:
    """Statistics re-estimated on training images: the headline."""
    return lambda row: reset(network, stack.row(stack.mix(members, row[None]), 0), data, count)


def interpolated(network: Network, members: Stack, data: Data, count: int | None) -> Mixer:
    """The mixture of the members' statistics, as it is."""
    return lambda row: stack.row(stack.mix(members, row[None]), 0)


def with_repair(network: Network, members: Stack, data: Data, count: int | None) -> Mixer:
    """Channel means and standard deviations matched to the mixture of the members' (Jordan 2023)."""
    known = moments(network, members, data, count)
    return lambda row: repaired(network, members, row, moments=known, data=data, count=count)


POLICIES: dict[str, Policy] = {"reset": with_reset, "interp": interpolated, "repair": with_repair}
