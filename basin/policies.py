"""What is done about the BatchNorm statistics of a mixed network: a part of the name of every connectivity number."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.alignment.repair import moments, repaired
from basin.data import Data
from basin.engine import Way
from basin.evaluation import reset
from basin.network import Network, Precision
from basin.stack import Stack


@dataclass(frozen=True)
class Setting:
    """What mixed networks are made of, and how they are run."""

    network: Network
    members: Stack
    data: Data
    bn_images: int | None = None
    """Training images from which statistics are estimated; None takes all."""
    precision: Precision = "float32"
    way: Way = field(default_factory=Way)

    def reset(self, mixed: Stack) -> Stack:
        """The networks with re-estimated statistics."""
        return reset(self.network, mixed, self.data, self.bn_images, way=self.way, precision=self.precision)


Mixer = Callable[[Float[Tensor, "S K"]], Stack]
"""Rows of the mixing matrix → their networks, ready to predict."""
Policy = Callable[[Setting], Mixer]


def with_reset(setting: Setting) -> Mixer:
    """Statistics re-estimated on training images: the headline."""
    return lambda rows: setting.reset(stack.mix(setting.members, rows))


def interpolated(setting: Setting) -> Mixer:
    """The mixture of the members' statistics, as it is."""
    return lambda rows: stack.mix(setting.members, rows)


def with_repair(setting: Setting) -> Mixer:
    """Channel means and standard deviations matched to the mixture of the members' (Jordan 2023)."""
    known = moments(setting.network, setting.members, setting.data, setting.bn_images)
    return lambda rows: setting.reset(repaired(setting.network, setting.members, rows, known))


POLICIES: dict[str, Policy] = {"reset": with_reset, "interp": interpolated, "repair": with_repair}
