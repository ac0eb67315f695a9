"""Small networks of every kind, with weights under which no two units are alike."""

import torch
from torch import Tensor

from basin import stack
from basin.alignment.permutation import Permutation, permute_network, random_permutation
from basin.models import models
from basin.models.symmetry import Symmetry
from basin.seeds import make_generator
from basin.stack import Params, Stack
from basin.training.network import Network

SHAPE = (1, 8, 8)
TINY_VIT: dict[str, object] = {"patch": 2, "dim": 12, "heads": 3, "blocks": 2, "mlp_ratio": 2}
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "mlp": ("mlp", {"hidden": 8, "layers": 3}),
    "mlp-1": ("mlp", {"hidden": 8, "layers": 1}),
    "batch": ("resnet8", {"width": 0.5}),
    "batch-3x3": ("resnet8", {"width": 0.5, "shortcut": "3x3"}),
    "layer": ("resnet8", {"width": 0.5, "norm": "layer"}),
    "group": ("resnet8", {"norm": "group"}),
    "resnet20": ("resnet20", {"width": 0.5}),
    "resnet20-group": ("resnet20", {"norm": "group"}),
    "vit": ("vit", TINY_VIT),
    "vit-1-head": ("vit", TINY_VIT | {"heads": 1, "blocks": 1}),
}


def network(kind: str) -> tuple[Network, Symmetry]:
    """A network for digits and its permutation spec."""
    name, fields = KINDS[kind]
    function = Network(models.make(name, **fields), SHAPE, 10, torch.device("cpu"))
    return function, function.symmetry


def distinct(function: Network, seed: int = 0) -> Params:
    """Float64 weights and buffers with noise on all of them; variances stay positive."""
    draws = make_generator("distinct", seed)
    params = {}
    for name, tensor in function.init(seed).items():
        noise = torch.randn(tensor.shape, generator=draws, dtype=torch.float64)
        if tensor.is_floating_point():
            params[name] = tensor.double() + (noise.abs() if name.endswith("running_var") else 0.3 * noise)
        else:
            params[name] = tensor
    return params


def shuffled(params: Params, symmetry: Symmetry, seed: int = 0) -> tuple[Params, Permutation]:
    """The network with its units in a random order, and that order."""
    permutation = random_permutation(symmetry, make_generator("shuffled", seed))
    return permute_network(params, symmetry, permutation), permutation


def only(params: Params) -> Stack:
    """A stack of one network."""
    return stack.stack_networks([params])


def images(count: int = 6) -> Tensor:
    """Float64 noise."""
    return torch.randn(count, *SHAPE, generator=make_generator("images"), dtype=torch.float64)


def difference(function: Network, first: Params, second: Params) -> float:
    """max |f(x) − g(x)| relative to max |f(x)|."""
    with torch.no_grad():
        a, b = function(first, images()), function(second, images())
    return float((a - b).abs().max() / a.abs().max())
