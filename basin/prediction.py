"""Predictions of a stack, and re-estimation of the BatchNorm statistics of mixed networks."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.data import Data, Images
from basin.seeds import make_generator
from basin.stack import Params, Stack
from basin.training.cuda_graphs import captured_forwards
from basin.training.execution_mode import Way
from basin.training.network import Network, Precision

PIXELS = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Pixels evaluated at once: on a CPU, the activations of a small network then fit into its caches."""
BATCH = 128
"""Images in a batch of BatchNorm's re-estimation, at most."""


def predict(
    network: Network, thetas: Stack, images: Images, data: Data, *, precision: Precision = "float32"
) -> Float[Tensor, "K N C"]:
    """Log-probabilities of each network on each image, float32 on the CPU."""
    way = network.engine.evaluation()

    def some(chosen: slice) -> Tensor:
        return predict_here(
            network, stack.slice_networks(thetas, chosen), images, data, way=way, precision=precision
        ).cpu()

    return torch.cat(way.map(some, way.parts(stack.count_networks(thetas))))


@torch.no_grad()
def predict_here(
    network: Network, thetas: Stack, images: Images, data: Data, *, way: Way, precision: Precision
) -> Float[Tensor, "K N C"]:
    """Log-probabilities on the network's device, computed in the calling thread."""
    count, size = stack.count_networks(thetas), _chunk_size(network, data)
    ask = (
        _captured_forward(network, thetas, precision)
        if way.name == "graphs"
        else _eager_forward(network, thetas, precision, way)
    )
    outputs = []
    for start in range(0, len(images), size):
        # Chunks of one size are one recording: the last image stands for those that a chunk lacks.
        places = torch.arange(start, start + min(size, len(images))).clamp_(max=len(images) - 1)
        logits = ask(data.normalise(images.take(places)[0]))[:count, : len(images) - start]
        outputs.append(F.log_softmax(logits, dim=2))
    return torch.cat(outputs, dim=1)


def _eager_forward(network: Network, thetas: Stack, precision: Precision, way: Way) -> Callable[[Tensor], Tensor]:
    count, together = stack.count_networks(thetas), way.name == "stacked"
    return lambda images: network.compute_logits(thetas, [images] * count, precision=precision, together=together)


def _captured_forward(network: Network, thetas: Stack, precision: Precision) -> Callable[[Tensor], Tensor]:
    ask = captured_forwards(network, _pad_to_even(thetas), train=False, precision=precision)
    return lambda images: ask(images).logits(images)


def even_places(count: int) -> Int64[Tensor, " even"]:
    """Indices padded to the next power of two by repeating the last, so that few captures serve any number."""
    return torch.arange(1 << (count - 1).bit_length()).clamp_(max=count - 1)


def _pad_to_even(thetas: Stack) -> Stack:
    count, places = stack.count_networks(thetas), even_places(stack.count_networks(thetas))
    if len(places) == count:
        return thetas
    return {name: tensor[places.to(tensor.device)] for name, tensor in thetas.items()}


@torch.no_grad()
def reestimate_batchnorm(
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
    order = torch.randperm(len(data.train), generator=make_generator("batchnorm", data.hash))[:count]
    parts = order.tensor_split(max(1, -(-len(order) // BATCH)))
    if way.name == "graphs":
        return thetas | _averaged_statistics(network, thetas, data, parts, precision)
    fresh = dict(thetas)
    for name in network.batchnorms:
        fresh[f"{name}.running_mean"] = torch.zeros_like(thetas[f"{name}.running_mean"])
        fresh[f"{name}.running_var"] = torch.ones_like(thetas[f"{name}.running_var"])
        fresh[f"{name}.num_batches_tracked"] = torch.zeros_like(thetas[f"{name}.num_batches_tracked"])
    for index, indices in enumerate(parts):
        shared = [data.normalise(data.train.take(indices)[0])] * stack.count_networks(thetas)
        together = way.name == "stacked"
        network.compute_logits(
            fresh, shared, train=True, precision=precision, momentum=1 / (index + 1), together=together
        )
    return fresh


def batchnorm_statistics(network: Network, params: Params) -> Params:
    """The BatchNorm buffers of a network, by name."""
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    return {name: params[name] for name in map(".".join, product(network.batchnorms, kinds))}


@torch.no_grad()
def _averaged_statistics(
    network: Network, thetas: Stack, data: Data, parts: Sequence[Int64[Tensor, " b"]], precision: Precision
) -> Stack:
    """Average each batch's statistics here: the momentum of a captured pass cannot change from batch to batch."""
    some, count = _pad_to_even(thetas), stack.count_networks(thetas)
    names = [f"{name}.{kind}" for name, kind in product(network.batchnorms, ("running_mean", "running_var"))]
    means: list[Tensor] = []
    ask = captured_forwards(network, some, train=True, precision=precision)
    for index, indices in enumerate(parts):
        images = data.normalise(data.train.take(indices)[0])
        asked = ask(images)
        asked.logits(images)
        statistics = [asked.statistics(name)[:count] for name in names]
        if means:
            torch._foreach_lerp_(means, statistics, 1 / (index + 1))
        else:
            means = list(torch._foreach_add(statistics, 0.0))
    counter = torch.full((count,), len(parts), device=network.device)
    return dict(zip(names, means, strict=True)) | {
        f"{name}.num_batches_tracked": counter for name in network.batchnorms
    }


def _chunk_size(network: Network, data: Data) -> int:
    _, height, width = data.shape
    return max(32, PIXELS[network.device.type] // (height * width))
