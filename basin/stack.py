"""Stacks of networks, and the one function that mixes them.

A stack Θ is every parameter and buffer of K networks with a leading member axis. Every network the project
evaluates or trains on is a row of `W @ Θ` for a mixing matrix W of shape [S, K]: members (identity), points of a
path (1-α, α), the centroid (1/K), points of the convex hull, of a plane, of a training constraint.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Params = dict[str, Tensor]
"""One network: parameters and buffers by their `state_dict` name."""
Stack = dict[str, Tensor]
"""K networks: the same names, each tensor with a leading axis of length K."""


def of_module(module: nn.Module) -> Params:
    """A copy of a module's parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def stack_networks(networks: Sequence[Params]) -> Stack:
    """K networks as one stack."""
    return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}


def join_stacks(stacks: Sequence[Stack]) -> Stack:
    """The networks of several stacks as one stack."""
    return {name: torch.cat([thetas[name] for thetas in stacks]) for name in stacks[0]}


def repeat_network(network: Params, count: int) -> Stack:
    """`count` copies of one network."""
    return {name: tensor.expand(count, *tensor.shape).clone() for name, tensor in network.items()}


def network_at(thetas: Stack, index: int) -> Params:
    """Network `index`, as views into the stack."""
    return {name: tensor[index] for name, tensor in thetas.items()}


def slice_networks(thetas: Stack, chosen: slice) -> Stack:
    """A slice of the networks, as views into the stack."""
    return {name: tensor[chosen] for name, tensor in thetas.items()}


def iterate_networks(thetas: Stack) -> Iterable[Params]:
    """The networks one after another, as views."""
    return (network_at(thetas, index) for index in range(count_networks(thetas)))


def count_networks(thetas: Stack) -> int:
    """Number of networks in the stack, K."""
    return next(iter(thetas.values())).shape[0]


def mix(thetas: Stack, weights: Float[Tensor, "S K"]) -> Stack:
    """`W @ Θ`: S networks, each an affine combination of the K given.

    Integer buffers (BatchNorm's counter) cannot be mixed; the rows take the first network's. A row that picks one
    network (a unit vector) returns it bit for bit, and a row that sums to 1 does so for every element in which all
    networks are equal.
    """
    floating = {name: tensor for name, tensor in thetas.items() if tensor.is_floating_point()}
    flat, sizes = flatten_weights(floating, floating), [tensor[0].numel() for tensor in floating.values()]
    total = weights.to(flat, non_blocking=True) @ flat
    # Added, not put in its place: so every network still receives its share of the gradient.
    affine = torch.isclose(weights.sum(dim=1, keepdim=True), weights.new_ones(1)).to(flat.device, non_blocking=True)
    rounding = torch.where(affine & (flat == flat[0]).all(dim=0), flat[0] - total, 0.0).detach()
    parts = (total + rounding).split(sizes, dim=1)
    shaped = zip(floating.items(), parts, strict=True)
    mixed = {name: part.reshape(len(weights), *tensor.shape[1:]) for (name, tensor), part in shaped}
    counters = {name: tensor for name, tensor in thetas.items() if name not in floating}
    first = {name: tensor[:1].expand(len(weights), *tensor.shape[1:]).clone() for name, tensor in counters.items()}
    return mixed | first


def flatten_weights(thetas: Stack, names: Iterable[str]) -> Float[Tensor, "K P"]:
    """The named tensors of each network as one long vector."""
    return torch.cat([thetas[name].reshape(count_networks(thetas), -1) for name in names], dim=1)


def unit_rows(count: int) -> Float[Tensor, "K K"]:
    """The mixing matrix of the members themselves."""
    return torch.eye(count, dtype=torch.float64)


def to_device(thetas: Stack, device: torch.device) -> Stack:
    """The stack on a device."""
    return {name: tensor.to(device) for name, tensor in thetas.items()}
