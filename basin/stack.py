"""The heart: a stack of networks, and the one function that mixes it.

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


def stack(networks: Sequence[Params]) -> Stack:
    """K networks as one stack."""
    return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}


def concatenate(stacks: Sequence[Stack]) -> Stack:
    """The networks of several stacks as one stack."""
    return {name: torch.cat([thetas[name] for thetas in stacks]) for name in stacks[0]}


def repeat(network: Params, count: int) -> Stack:
    """`count` copies of one network."""
    return {name: tensor.expand(count, *tensor.shape).clone() for name, tensor in network.items()}


def row(thetas: Stack, index: int) -> Params:
    """Network `index`, as views into the stack."""
    return {name: tensor[index] for name, tensor in thetas.items()}


def part(thetas: Stack, chosen: slice) -> Stack:
    """Some of the networks, as views into the stack."""
    return {name: tensor[chosen] for name, tensor in thetas.items()}


def rows(thetas: Stack) -> Iterable[Params]:
    """The networks one after another, as views."""
    return (row(thetas, index) for index in range(size(thetas)))


def size(thetas: Stack) -> int:
    """K."""
    return next(iter(thetas.values())).shape[0]


def mix(thetas: Stack, weights: Float[Tensor, "S K"]) -> Stack:
    """`W @ Θ`: S networks, each an affine combination of the K given.

    Integer buffers (BatchNorm's counter) cannot be mixed; the rows take the first network's. A row that picks one
    network (a unit vector) returns it bit for bit.
    """
    floating = {name: tensor for name, tensor in thetas.items() if tensor.is_floating_point()}
    flat, sizes = flatten(floating, floating), [tensor[0].numel() for tensor in floating.values()]
    parts = (weights.to(flat, non_blocking=True) @ flat).split(sizes, dim=1)
    shaped = zip(floating.items(), parts, strict=True)
    mixed = {name: part.reshape(len(weights), *tensor.shape[1:]) for (name, tensor), part in shaped}
    counters = {name: tensor for name, tensor in thetas.items() if name not in floating}
    first = {name: tensor[:1].expand(len(weights), *tensor.shape[1:]).clone() for name, tensor in counters.items()}
    return mixed | first


def flatten(thetas: Stack, names: Iterable[str]) -> Float[Tensor, "K P"]:
    """The named tensors of each network as one long vector."""
    return torch.cat([thetas[name].reshape(size(thetas), -1) for name in names], dim=1)


def unit_rows(count: int) -> Float[Tensor, "K K"]:
    """The mixing matrix of the members themselves."""
    return torch.eye(count, dtype=torch.float64)


def to(thetas: Stack, device: torch.device) -> Stack:
    """The stack on a device."""
    return {name: tensor.to(device) for name, tensor in thetas.items()}
