"""BatchNorm policies for mixed networks; the policy is part of every connectivity number's name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.alignment.repair import activation_moments, repair_networks
from basin.data import Data
from basin.prediction import reestimate_batchnorm
from basin.stack import Stack
from basin.training.execution_mode import Way
from basin.training.network import Network, Precision

HEADLINE = "reset"
"""The policy of headline numbers, and the only one of a model without BatchNorm."""
PolicyChoice = Literal["reset", "reset+interp", "all"]
"""Values of the setting `policies`: names of policies joined by `+`, or all of them."""


@dataclass(frozen=True)
class MixingContext:
    """Members and settings from which mixed networks are built."""

    network: Network
    members: Stack
    data: Data
    bn_images: int | None = None
    """Training images from which statistics are estimated; None takes all."""
    precision: Precision = "float32"
    way: Way = field(default_factory=Way)

    def reset(self, mixed: Stack) -> Stack:
        """The networks with re-estimated statistics."""
        return reestimate_batchnorm(
            self.network, mixed, self.data, self.bn_images, way=self.way, precision=self.precision
        )


Mixer = Callable[[Float[Tensor, "S K"]], Stack]
"""Rows of the mixing matrix → their networks, ready to predict."""
Policy = Callable[[MixingContext], Mixer]
POLICIES: dict[str, Policy] = {}
"""The registry: its entries are measured by `policies=all`, and have their columns in the tables."""


def policy(name: str) -> Callable[[Policy], Policy]:
    """Register a function as the policy of this name."""

    def add(function: Policy) -> Policy:
        POLICIES[name] = function
        return function

    return add


@policy(HEADLINE)
def with_reset(context: MixingContext) -> Mixer:
    """Re-estimate the statistics on training images (Izmailov 2018)."""
    return lambda rows: context.reset(stack.mix(context.members, rows))


@policy("interp")
def with_interpolation(context: MixingContext) -> Mixer:
    """Mix the members' statistics as the weights are mixed."""
    return lambda rows: stack.mix(context.members, rows)


@policy("repair")
def with_repair(context: MixingContext) -> Mixer:
    """Match channel means and standard deviations to the mixture of the members' (REPAIR, Jordan 2023)."""
    known = activation_moments(context.network, context.members, context.data, context.bn_images)
    return lambda rows: context.reset(repair_networks(context.network, context.members, rows, known))


def chosen_policies(choice: str, network: Network) -> tuple[str, ...]:
    """Names of the policies that a choice measures for a network: without BatchNorm they are all one."""
    if not network.batchnorms:
        return (HEADLINE,)
    return tuple(POLICIES) if choice == "all" else tuple(choice.split("+"))
