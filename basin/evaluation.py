"""Predictions of a stack, and the statistics that a mixed network needs before it can predict."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.data import Data, Images
from basin.engine import Way
from basin.graphs import asking
from basin.network import Network, Precision
from basin.seeds import generator
from basin.stack import Stack

PIXELS = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Of the images evaluated at once: a CPU's caches hold a small network's activations of so many."""
BATCH = 128
"""Images in a batch of BatchNorm's re-estimation, at most."""


def predict(
    network: Network, thetas: Stack, images: Images, data: Data, *, precision: Precision = "float32"
) -> Float[Tensor, "K N C"]:
    """Log-probabilities of each network on each image, float32 on the CPU."""
    way = network.engine.evaluation()

    def some(chosen: slice) -> Tensor:
        return predict_here(network, stack.part(thetas, chosen), images, data, way=way, precision=precision).cpu()

    return torch.cat(way.map(some, way.parts(stack.size(thetas))))


@torch.no_grad()
def predict_here(
    network: Network, thetas: Stack, images: Images, data: Data, *, way: Way, precision: Precision
) -> Float[Tensor, "K N C"]:
    """The same on the network's device, all in the calling thread."""
    count, size = stack.size(thetas), _chunk(network, data)
    ask = _recorded(network, thetas, precision) if way.name == "graphs" else _asked(network, thetas, precision, way)
    outputs = []
    for start in range(0, len(images), size):
        # Chunks of one size are one recording: the last image stands for those that a chunk lacks.
        places = torch.arange(start, start + min(size, len(images))).clamp_(max=len(images) - 1)
        logits = ask(data.normalise(images.take(places)[0]))[:count, : len(images) - start]
        outputs.append(F.log_softmax(logits, dim=2))
    return torch.cat(outputs, dim=1)


def _asked(network: Network, thetas: Stack, precision: Precision, way: Way) -> Callable[[Tensor], Tensor]:
    count, together = stack.size(thetas), way.name == "stacked"
    return lambda images: network.each(thetas, [images] * count, precision=precision, together=together)


def _recorded(network: Network, thetas: Stack, precision: Precision) -> Callable[[Tensor], Tensor]:
    ask = asking(network, _even(thetas), train=False, precision=precision)
    return lambda images: ask(images).logits(images)


def evened(count: int) -> Int64[Tensor, " even"]:
    """Places of the next power of two of networks, the last one repeated: few recordings serve any number of them."""
    return torch.arange(1 << (count - 1).bit_length()).clamp_(max=count - 1)


def _even(thetas: Stack) -> Stack:
    count, places = stack.size(thetas), evened(stack.size(thetas))
    if len(places) == count:
        return thetas
    return {name: tensor[places.to(tensor.device)] for name, tensor in thetas.items()}


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
    order = torch.randperm(len(data.train), generator=generator("batchnorm", data.hash))[:count]
    parts = order.tensor_split(max(1, -(-len(order) // BATCH)))
    if way.name == "graphs":
        return thetas | _averaged(network, thetas, data, parts, precision)
    fresh = dict(thetas)
    for name in network.batchnorms:
        fresh[f"{name}.running_mean"] = torch.zeros_like(thetas[f"{name}.running_mean"])
        fresh[f"{name}.running_var"] = torch.ones_like(thetas[f"{name}.running_var"])
        fresh[f"{name}.num_batches_tracked"] = torch.zeros_like(thetas[f"{name}.num_batches_tracked"])
    for index, indices in enumerate(parts):
        shared = [data.normalise(data.train.take(indices)[0])] * stack.size(thetas)
        together = way.name == "stacked"
        network.each(fresh, shared, train=True, precision=precision, momentum=1 / (index + 1), together=together)
    return fresh


@torch.no_grad()
def _averaged(
    network: Network, thetas: Stack, data: Data, parts: Sequence[Int64[Tensor, " b"]], precision: Precision
) -> Stack:
    """Each batch's own statistics from a recording, averaged here: its momentum cannot change from batch to batch."""
    some, count = _even(thetas), stack.size(thetas)
    names = [f"{name}.{kind}" for name in network.batchnorms for kind in ("running_mean", "running_var")]
    means: list[Tensor] = []
    ask = asking(network, some, train=True, precision=precision)
    for index, indices in enumerate(parts):
        images = data.normalise(data.train.take(indices)[0])
        asked = ask(images)
        asked.logits(images)
        found = [asked.statistics(name)[:count] for name in names]
        if means:
            torch._foreach_lerp_(means, found, 1 / (index + 1))
        else:
            means = list(torch._foreach_add(found, 0.0))
    counter = torch.full((count,), len(parts), device=network.device)
    return dict(zip(names, means, strict=True)) | {
        f"{name}.num_batches_tracked": counter for name in network.batchnorms
    }


def _chunk(network: Network, data: Data) -> int:
    _, height, width = data.shape
    return max(32, PIXELS[network.device.type] // (height * width))
