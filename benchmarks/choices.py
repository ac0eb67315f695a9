"""What the engine takes, beside what it could have taken: layout, precision, compiler, optimizer, convolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin import stack
from basin.flat import Flat
from benchmarks import ensembles
from benchmarks.ensembles import LR, Ensembles
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report, Table, compare
from benchmarks.timing import Contestant, interleaved

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CHANNELS = ((16, 32), (32, 16), (64, 8))
"""Channels and side of a ResNet20's stages at 32 px."""


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """What is compared."""

    compiled: bool = False
    """Whether torch.compile takes part: it needs a C++ compiler and more than a minute."""


def run(options: Options) -> Report:
    """One network's step in each layout, precision and compiler; one optimizer step; grouped convolutions."""
    settings = options.settle(Settings(steps=1))
    made = Ensembles(options, settings)
    tables = (
        _compared("one step of one network", "images", _steps(made, settings), options),
        _compared(f"optimizer step of {settings.members} networks", "steps", _optimizers(made), options),
        *(_grouped(made, channels, side, options) for channels, side in CHANNELS),
    )
    return Report("choices", describe(options.device), tables)


def _compared(title: str, unit: str, contestants: Mapping[str, Contestant], options: Options) -> Table:
    timings = interleaved(contestants, repeats=options.repeats)
    return compare(title, timings, unit=unit, reference=next(iter(contestants)))


def _steps(made: Ensembles, settings: Settings) -> dict[str, Contestant]:
    count, device = settings.batch_size, made.device
    pixels = torch.randn(count, *made.data.shape, device=device)
    labels = torch.arange(count, device=device) % made.data.classes
    fresh: Callable[[], nn.Module] = lambda: made.network("loop", "float32").fresh_module("benchmark", 0).to(device)  # noqa: E731
    found: dict[str, Contestant] = {}
    for half in (False, True):
        for name, memory_format in FORMATS.items():
            images = pixels.contiguous(memory_format=memory_format)
            found[f"{'bfloat16' if half else 'float32'}, {name}"] = partial(_step, fresh(), images, labels, half)
    if settings.compiled:
        images = pixels.contiguous(memory_format=torch.channels_last)
        found["bfloat16, channels_last, compiled"] = partial(_step, torch.compile(fresh()), images, labels, True)
    return found


def _step(module: Any, images: Tensor, labels: Tensor, half: bool) -> float:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        logits = module(images)
    F.cross_entropy(logits.float(), labels).backward()
    for parameter in module.parameters():
        parameter.grad = None
    return len(images)


def _optimizers(made: Ensembles) -> dict[str, Contestant]:
    network = made.network("loop", "float32")
    flat = Flat(made.stack(network), network.weights)
    flat.grads.normal_()
    whole = flat.weights.clone().requires_grad_()
    whole.grad = flat.grads
    ways: dict[str, tuple[list[Tensor], dict[str, bool]]] = {
        "tensor by tensor": (_separate(flat), {"foreach": False}),
        "foreach": (_separate(flat), {"foreach": True}),
        "fused": (_separate(flat), {"fused": True}),
        "one matrix": ([whole], {"foreach": False}),
    }
    found: dict[str, Contestant] = {}
    for name, (tensors, how) in ways.items():
        optimizer = torch.optim.SGD(tensors, LR, momentum=0.9, weight_decay=5e-4, nesterov=True, **how)
        found[name] = partial(_counted, optimizer.step)
    return found


def _separate(flat: Flat) -> list[Tensor]:
    tensors = []
    for row, grads in zip(flat.weights, flat.grads, strict=True):
        own, given = (stack.row(flat.views(matrix[None]), 0) for matrix in (row, grads))
        for name, tensor in own.items():
            leaf = tensor.clone().requires_grad_()
            leaf.grad = given[name].clone()
            tensors.append(leaf)
    return tensors


def _counted(step: Callable[[], object]) -> float:
    step()
    return 1


def _grouped(made: Ensembles, channels: int, side: int, options: Options) -> Table:
    """The convolution of all members at once, a group each, beside one after another; forward and backward."""
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
    return _compared(f"{channels} channels at {side} px, K = {count}", "images", contestants, options)
