"""Align networks by permutations of hidden units, and average them."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from basin import stack
from basin.alignment.activation_matching import ActivationMatching
from basin.alignment.align import Alignment, Reference, align_members
from basin.alignment.certificate import Certificate
from basin.alignment.matching import Matcher
from basin.alignment.permutation import Permutation
from basin.alignment.weight_matching import WeightMatching
from basin.api.inputs import Given, Inputs, Networks, States, isolated_draws, open_networks
from basin.connectivity.batchnorm import HEADLINE, POLICIES, MixingContext
from basin.errors import UsageError, one_of
from basin.models.symmetry import Symmetry, symmetry_of
from basin.stack import Params


@dataclass(frozen=True, eq=False)
class Aligned:
    """A network whose hidden units were permuted; it computes the same function."""

    module: nn.Module
    permutation: Permutation
    """Group of units → which unit stands at each place."""
    certificate: Certificate
    """Proof that the function is unchanged, in float64."""


def align(
    a: nn.Module,
    b: nn.Module,
    *,
    train: Inputs,
    by: str = "weights",
    symmetry: Symmetry | None = None,
    restarts: int = 5,
    device: torch.device | str | None = None,
) -> Aligned:
    """Permute the hidden units of `b` so that they match those of `a` (Git Re-Basin, Ainsworth 2023).

    Parameters
    ----------
    a, b
        Networks of one architecture, images → logits [N, C]. They are not changed.
    train
        Inputs on which activations are compared and the certificate is made; see `basin.compare`.
    by
        Match units by their `weights`, or by their `activations` on the training inputs.
    symmetry
        Groups of units that can be permuted; none: the module's own `symmetry()`, else traced.
    restarts
        Starts of the search for weights' permutations, of which the best is kept.

    Raises
    ------
    UsageError
        For invalid input, and if the symmetry is unknown.
    NotEquivalentError
        If the symmetry is wrong.
    """
    given = open_networks([a, b], None, train=train, test=train, device=device)
    aligned = align_given(given, by, symmetry, restarts, "first")
    module = given.with_weights(stack.network_at(aligned.members, 1))
    return Aligned(module, aligned.permutations[1], aligned.certificates[0])


def align_given(given: Given, by: str, symmetry: Symmetry | None, restarts: int, reference: str) -> Alignment:
    """Align all networks of a call."""
    if by not in ("weights", "activations"):
        raise one_of("alignment", by, ("weights", "activations"))
    if reference not in ("first", "mean"):
        raise one_of("reference", reference, ("first", "mean"))
    if by == "activations" and not given.trains:
        raise UsageError("alignment by activations compares them on training inputs: give train=")
    network, data = given.network, given.data
    groups = symmetry or symmetry_of(given.module, data.normalise(data.train.images[:2]))
    matcher: Matcher = (
        WeightMatching(network, groups, restarts) if by == "weights" else ActivationMatching(network, groups, data)
    )
    return align_members(
        network, given.members, symmetry=groups, data=data, matcher=matcher, reference=cast(Reference, reference)
    )


def soup(
    networks: Networks,
    states: States | None = None,
    *,
    test: Inputs | None = None,
    train: Inputs | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Average the weights of networks into one network (Wortsman 2022).

    Parameters
    ----------
    networks, states
        As for `basin.compare`.
    train
        Inputs on which BatchNorm statistics are re-estimated; without them statistics are averaged too.
    test
        Any inputs, to check the networks; none takes `train`.

    Returns
    -------
    nn.Module
        One network, in evaluation mode, on the networks' device.

    Raises
    ------
    UsageError
        For invalid input, and if neither `train` nor `test` is given.
    """
    if train is None and test is None:
        raise UsageError(
            "soup: give train=, inputs on which BatchNorm statistics are re-estimated, or test=, any inputs to check "
            "the networks on; statistics are then averaged"
        )
    given = open_networks(networks, states, train=train, test=train if test is None else test, device=device)
    return given.with_weights(average(given, HEADLINE if given.trains else "interp"))


def average(given: Given, policy: str) -> Params:
    """The centroid's weights under a BatchNorm policy."""
    count = stack.count_networks(given.members)
    context = MixingContext(given.network, given.members, given.data)
    with isolated_draws(given.network.device):
        mixed = POLICIES[policy](context)(torch.full((1, count), 1 / count, dtype=torch.float64))
    return stack.network_at(mixed, 0)
