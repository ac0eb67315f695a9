"""Predictions of a stack, and the statistics that a mixed network needs before it can predict."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.data import Data, Images, chunks
from basin.engine import Way
from basin.network import Network, Precision
from basin.seeds import generator
from basin.stack import Stack

PIXELS = {"cpu": 1 << 16, "cuda": 1 << 22}
"""Of the images evaluated at once: a CPU's caches hold a small network's activations of so many."""
BATCH = 128
"""Images in a batch of BatchNorm's re-estimation, at most."""


def predict(
    network: Network, thetas: Stack, images: Images, data: Data, *, precision: Precision = "float32"
) -> Float[Tensor, "K N C"]:
    """Log-probabilities of each network on each image, float32 on the CPU."""
    way = network.engine.evaluation()

    def some(chosen: slice) -> Tensor:
        return predict_here(network, stack.part(thetas, chosen), images, data, way=way, precision=precision)

    return torch.cat(way.map(some, way.parts(stack.size(thetas))))


@torch.no_grad()
def predict_here(
    network: Network, thetas: Stack, images: Images, data: Data, *, way: Way, precision: Precision
) -> Float[Tensor, "K N C"]:
    """The same, all in the calling thread."""
    count, together, size = stack.size(thetas), way.name == "stacked", _chunk(network, data)
    outputs = []
    for pixels, _ in chunks(images, size):
        shared = [data.normalise(pixels)] * count
        logits = network.each(thetas, shared, precision=precision, together=together)
        outputs.append(F.log_softmax(logits, dim=2))
    return torch.cat(outputs, dim=1).cpu()


@torch.no_grad()
def reset(
    network: Network,
    thetas: Stack,
    data: Data,
    count: int | None,
    *,
    way: Way = Way(),  # noqa: B008 (frozen)
    precision: Precision = "float32",
) -> Stack:
    """The networks with BatchNorm statistics re-estimated on training images, without augmentation.

    Running statistics are the cumulative average over one pass in a seeded order (momentum 1/i at the i-th batch, no
    image dropped), as in stochastic weight averaging (Izmailov 2018, section 3.2). `count` limits the images; None
    takes all. Nothing is handed to other threads.
    """
    if not network.batchnorms:
        return thetas
    fresh = dict(thetas)
    for name in network.batchnorms:
        fresh[f"{name}.running_mean"] = torch.zeros_like(thetas[f"{name}.running_mean"])
        fresh[f"{name}.running_var"] = torch.ones_like(thetas[f"{name}.running_var"])
        fresh[f"{name}.num_batches_tracked"] = torch.zeros_like(thetas[f"{name}.num_batches_tracked"])
    order = torch.randperm(len(data.train), generator=generator("batchnorm", data.hash))[:count]
    for index, indices in enumerate(order.tensor_split(max(1, -(-len(order) // BATCH)))):
        shared = [data.normalise(data.train.take(indices)[0])] * stack.size(thetas)
        together = way.name == "stacked"
        network.each(fresh, shared, train=True, precision=precision, momentum=1 / (index + 1), together=together)
    return fresh


def _chunk(network: Network, data: Data) -> int:
    _, height, width = data.shape
    return max(32, PIXELS[network.device.type] // (height * width))
