"""REPAIR: give a mixed network the interpolated channel statistics of its ends (Jordan 2023, section 3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.alignment.activation_matching import flatten_samples, observe_activations
from basin.data import Data
from basin.models.symmetry import Reading
from basin.prediction import BATCH
from basin.seeds import make_generator
from basin.stack import Params, Stack
from basin.training.network import Network


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of each channel that leaves each BatchNorm: module → [K, channels]."""

    mean: dict[str, Tensor]
    std: dict[str, Tensor]


def repair_networks(network: Network, members: Stack, rows: Float[Tensor, "S K"], moments: Moments) -> Stack:
    """The networks `rows @ members` with, after every BatchNorm, the mixture of the members' moments:

        E[X_mix] = Σ_k w_k E[X_k],    std(X_mix) = Σ_k w_k std(X_k)

    of standard deviations, not of variances. The norm's scale and shift are set to these; once its running statistics
    have been re-estimated (`reset`) its output has them exactly. The scale keeps the sign of the mixed one. It differs
    from `reset` alone as far as the members' running statistics differ from those of the images and their scales from
    each other in sign. A network without BatchNorm stays as it is.
    """
    mixed = stack.mix(members, rows)
    for name in network.batchnorms:
        scale, weights = mixed[f"{name}.weight"], rows.to(moments.mean[name])
        std = (weights @ moments.std[name]).to(scale)
        mixed[f"{name}.weight"] = torch.where(scale < 0, -std, std)
        mixed[f"{name}.bias"] = (weights @ moments.mean[name]).to(scale)
    return mixed


@torch.no_grad()
def activation_moments(network: Network, members: Stack, data: Data, count: int | None) -> Moments:
    """The members' own moments over training images, without augmentation, in float64."""
    by_member = [_channel_moments(network, params, data, count) for params in stack.iterate_networks(members)]
    return Moments(
        {name: torch.stack([by_layer[name][0] for by_layer in by_member]) for name in network.batchnorms},
        {name: torch.stack([by_layer[name][1] for by_layer in by_member]) for name in network.batchnorms},
    )


def _channel_moments(
    network: Network, params: Params, data: Data, count: int | None
) -> dict[str, tuple[Tensor, Tensor]]:
    readings: list[Reading] = [(name, "output") for name in network.batchnorms]
    order = torch.randperm(len(data.train), generator=make_generator("batchnorm", data.hash))[:count]
    sums: dict[str, Tensor] = {}
    seen = 0
    for indices in order.split(BATCH):
        with observe_activations(network, readings) as outputs:
            network(params, data.normalise(data.train.take(indices)[0]))
        for (name, _), output in outputs.items():
            x = flatten_samples(output).double()
            new = torch.stack([x.mean(dim=1), x.square().mean(dim=1)]) * len(indices)
            sums[name] = sums[name] + new if name in sums else new
        seen += len(indices)
    return {
        name: (first / seen, (second / seen - (first / seen).square()).clamp(min=0).sqrt())
        for name, (first, second) in sums.items()
    }
