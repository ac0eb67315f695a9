"""Predictions of a stack, and the statistics that a mixed network needs before it can predict."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from basin.data import Data, Images, chunks
from basin.network import Network
from basin.seeds import generator
from basin.stack import Params, Stack, rows

CHUNK = 512
"""Images evaluated at once."""


@torch.no_grad()
def predict(network: Network, thetas: Stack, images: Images, data: Data) -> Float[Tensor, "K N C"]:
    """Log-probabilities of each network on each image, float32 on the CPU."""
    outputs = []
    for params in rows(thetas):
        logits = [network(params, data.normalise(x)) for x, _ in chunks(images, CHUNK)]
        outputs.append(F.log_softmax(torch.cat(logits), dim=1).cpu())
    return torch.stack(outputs)


@torch.no_grad()
def reset(network: Network, params: Params, data: Data, count: int | None) -> Params:
    """The network with BatchNorm statistics re-estimated on training images, without augmentation.

    Running statistics are the cumulative average over one pass in a seeded order (momentum None, no batch dropped),
    as in stochastic weight averaging (Izmailov 2018, section 3.2). `count` limits the images; None takes all.
    """
    if not network.batchnorms:
        return params
    fresh = dict(params)
    for name in network.batchnorms:
        fresh[f"{name}.running_mean"] = torch.zeros_like(params[f"{name}.running_mean"])
        fresh[f"{name}.running_var"] = torch.ones_like(params[f"{name}.running_var"])
        fresh[f"{name}.num_batches_tracked"] = torch.zeros_like(params[f"{name}.num_batches_tracked"])
    order = torch.randperm(len(data.train), generator=generator("batchnorm", data.hash))[:count]
    with network.cumulative_statistics():
        for indices in order.tensor_split(max(1, -(-len(order) // CHUNK))):
            network(fresh, data.normalise(data.train.take(indices)[0]), train=True)
    return fresh
