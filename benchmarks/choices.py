"""The engine's choices against the alternatives: layout, precision, compiler, optimizer, convolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin import stack
from basin.training.flat_parameters import Flat
from benchmarks import ensembles
from benchmarks.ensembles import LR, Ensembles
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.report import Report, Table, compare_timings
from benchmarks.timing import Contestant, time_interleaved

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CHANNELS = ((16, 32), (32, 16), (64, 8))
"""Channels and side of a ResNet20's stages at 32 px."""


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """Settings of the comparison."""

    compiled: bool = False
    """Include torch.compile, which needs a C++ compiler and more than a minute."""


def run(options: Options) -> Report:
    """One network's step in each layout, precision and compiler; one optimizer step; grouped convolutions."""
    settings = options.settle(Settings(steps=1))
    made = Ensembles(options, settings)
    tables = (
        _compare_contestants("one step of one network", "images", _step_contestants(made, settings), options),
        _compare_contestants(
            f"optimizer step of {settings.members} networks", "steps", _optimizer_contestants(made), options
        ),
        *(_compare_grouped(made, channels, side, options) for channels, side in CHANNELS),
    )
    return Report("choices", describe_machine(options.device), tables)


def _compare_contestants(title: str, unit: str, contestants: Mapping[str, Contestant], options: Options) -> Table:
    timings = time_interleaved(contestants, repeats=options.repeats, title=title)
    return compare_timings(title, timings, unit=unit, reference=next(iter(contestants)))


def _step_contestants(made: Ensembles, settings: Settings) -> dict[str, Contestant]:
    count, device = settings.batch_size, made.device
    pixels = torch.randn(count, *made.data.shape, device=device)
    labels = torch.arange(count, device=device) % made.data.classes
    fresh: Callable[[], nn.Module] = lambda: made.network("loop", "float32").fresh_module("benchmark", 0).to(device)  # noqa: E731
    contestants: dict[str, Contestant] = {}
    for half in (False, True):
        for name, memory_format in FORMATS.items():
            images = pixels.contiguous(memory_format=memory_format)
            contestants[f"{'bfloat16' if half else 'float32'}, {name}"] = partial(
                _plain_step, fresh(), images, labels, half
            )
    if settings.compiled:
        images = pixels.contiguous(memory_format=torch.channels_last)
        contestants["bfloat16, channels_last, compiled"] = partial(
            _plain_step, torch.compile(fresh()), images, labels, True
        )
    return contestants


def _plain_step(module: Any, images: Tensor, labels: Tensor, half: bool) -> float:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        logits = module(images)
    F.cross_entropy(logits.float(), labels).backward()
    for parameter in module.parameters():
        parameter.grad = None
    return len(images)


def _optimizer_contestants(made: Ensembles) -> dict[str, Contestant]:
    network = made.network("loop", "float32")
    flat = Flat(made.stack(network), network.weights)
    flat.grads.normal_()
    whole = flat.weights.clone().requires_grad_()
    whole.grad = flat.grads
    ways: dict[str, tuple[list[Tensor], dict[str, bool]]] = {
        "tensor by tensor": (_separate_tensors(flat), {"foreach": False}),
        "foreach": (_separate_tensors(flat), {"foreach": True}),
        "fused": (_separate_tensors(flat), {"fused": True}),
        "one matrix": ([whole], {"foreach": False}),
    }
    contestants: dict[str, Contestant] = {}
    for name, (tensors, how) in ways.items():
        optimizer = torch.optim.SGD(tensors, LR, momentum=0.9, weight_decay=5e-4, nesterov=True, **how)
        contestants[name] = partial(_count_step, optimizer.step)
    return contestants


def _separate_tensors(flat: Flat) -> list[Tensor]:
    tensors = []
    for row, grads in zip(flat.weights, flat.grads, strict=True):
        tensors_by_name, given = (stack.network_at(flat.views(matrix[None]), 0) for matrix in (row, grads))
        for name, tensor in tensors_by_name.items():
            leaf = tensor.clone().requires_grad_()
            leaf.grad = given[name].clone()
            tensors.append(leaf)
    return tensors


def _count_step(step: Callable[[], object]) -> float:
    step()
    return 1


def _compare_grouped(made: Ensembles, channels: int, side: int, options: Options) -> Table:
    """Compare one grouped convolution of all members with one convolution each; forward and backward."""
    count, batch = made.settings.members, made.settings.batch_size

    def convolution(groups: int) -> Contestant:
        images = torch.randn(batch, groups * channels, side, side, device=made.device, dtype=torch.bfloat16)
        images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
        weights = torch.randn(groups * channels, channels, 3, 3, device=made.device, dtype=torch.bfloat16)
        weights.requires_grad_()

        def once() -> float:
            for _ in range(count // groups):
                F.conv2d(images, weights, padding=1, groups=groups).sum().backward()
            return count * batch

        return once

    contestants = {"one after another": convolution(1), "one grouped convolution": convolution(count)}
    return _compare_contestants(f"{channels} channels at {side} px, K = {count}", "images", contestants, options)
