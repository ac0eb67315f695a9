"""Permute networks at random and count the units that weight matching brings back to their places.

Every network is matched with a permuted copy of itself, whose weights have noise in proportion to the standard
deviation of their tensor. The permutations are traced from the module (`basin.models.tracing`). Units of weights that
never change, such as a layer's dead units, count like all others.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from basin import stack
from basin.alignment.permutation import Permutation, compose_permutations, permute_network, random_permutation
from basin.alignment.weight_matching import WeightMatching, inner_product
from basin.models import models
from basin.models.tracing import trace_symmetry
from basin.seeds import make_generator
from basin.stack import Params
from basin.training.network import Network
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced, tell_result
from benchmarks.report import Report, markdown_report

HEADS = ("model", "groups", "units", "noise", "units recovered", "of the planted similarity", "seconds")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the benchmark."""

    models: str = (
        "mlp,resnet20,vit,torchvision:resnet18,torchvision:resnet50,torchvision:squeezenet1_1,"
        "torchvision:mobilenet_v3_small,torchvision:densenet121,torchvision:shufflenet_v2_x0_5"
    )
    """Models, separated by commas."""
    noise: str = "0,0.1,0.5"
    """Standard deviations of the noise, separated by commas."""
    side: int = 32
    """Height and width of the images, in pixels."""
    restarts: int = 1
    """Starts of the search."""


def run(options: Options) -> Report:
    """One row for each model and level of noise."""
    settings = options.settle(Settings())
    rows = []
    for name in paced(settings.models.split(","), "models"):
        for row in _model_rows(name, settings):
            tell_result(f"{name}, noise {row[3]}", ", ".join(row[4:]))
            rows.append(row)
    return Report("recovery", describe_machine(options.device), (), sections=(markdown_report(HEADS, rows),))


def _model_rows(name: str, settings: Settings) -> Iterator[list[str]]:
    network = Network(models.make(name), (3, settings.side, settings.side), 10, torch.device("cpu"))
    symmetry = trace_symmetry(network.module, torch.zeros(2, *network.shape))
    target = network.init("recovery")
    matching = WeightMatching(network, symmetry, settings.restarts)
    for noise in settings.noise.split(","):
        draws = make_generator("recovery", name, noise)
        noisy = {key: _add_noise(tensor, float(noise), draws) for key, tensor in target.items()}
        planted = random_permutation(symmetry, draws)
        begun = time.perf_counter()
        match = matching(stack.stack_networks([target]), permute_network(noisy, symmetry, planted), draws)
        seconds = time.perf_counter() - begun
        right = _share_in_place(compose_permutations(planted, match.permutation))
        best = inner_product(*(_weights(network, params) for params in (target, noisy)))
        units = sum(sum(group.part_sizes()) for group in symmetry.values())
        counts = [str(len(symmetry)), str(units), noise]
        yield [name, *counts, f"{100 * right:.1f} %", f"{match.after / best:.4f}", f"{seconds:.1f}"]


def _add_noise(tensor: torch.Tensor, noise: float, draws: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return tensor
    return tensor + noise * tensor.std() * torch.randn(tensor.shape, generator=draws)


def _share_in_place(permutation: Permutation) -> float:
    every = torch.cat([index == torch.arange(len(index)) for units in permutation.values() for index in units])
    return float(every.float().mean())


def _weights(network: Network, params: Params) -> Params:
    return {name: params[name].double() for name in network.weights}
