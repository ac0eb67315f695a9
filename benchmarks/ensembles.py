"""Shared parts of the engine's benchmarks: settings, our training, and a plain PyTorch loop."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from basin import stack
from basin.data import Data
from basin.environment import keep_freed_memory
from basin.models import models
from basin.spec import Bounds, Checked
from basin.training.execution_mode import Engine, EngineName
from basin.training.loop import State, Training, train
from basin.training.network import Network, Precision
from basin.training.objective import Meter, Objective
from benchmarks.options import Options
from benchmarks.pictures import Pictures, image_loader, image_transform, make_images
from benchmarks.timing import Contestant, Timing, rate_ratio

LR = 0.01
ENGINES: dict[str, tuple[EngineName, ...]] = {"cpu": ("loop", "threads"), "cuda": ("loop", "graphs")}
"""Ways between which the engine chooses on a device."""


QUICK = {"model": "resnet8", "resolution": "8", "members": "2", "batch_size": "20", "images": "100", "steps": "1"}
"""A small size, to try a benchmark out."""


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """An ensemble, and how much of it is trained."""

    model: str = "resnet20"
    width: Annotated[float, Bounds(0.125, 64)] = 1.0
    """Multiplier of the channels."""
    resolution: Annotated[int, Bounds(8)] = 32
    """Pixels of each side."""
    members: Annotated[int, Bounds(1)] = 4
    """Networks, K."""
    batch_size: Annotated[int, Bounds(1)] = 128
    """Images of one network's batch."""
    steps: Annotated[int, Bounds(1)] = 4
    """Steps of each network in a round."""
    images: Annotated[int, Bounds(2)] = 2560
    """Training images."""

    @property
    def title(self) -> str:
        """In words."""
        return (
            f"{self.model} ×{self.width:g}, {self.resolution} px, K = {self.members}, batch {self.batch_size}, "
            f"{self.steps} steps a round"
        )


class Ensembles:
    """Contestants that train K networks for some steps; each continues where its last round ended."""

    def __init__(self, options: Options, settings: Settings, augment: str = "crop+flip") -> None:
        self.settings = settings
        self.device = options.device
        self.data: Data = replace(make_images(options, settings.images, settings.resolution), augment=augment)
        self.work = settings.members * settings.steps * settings.batch_size
        """Images of a round: member-images."""

    def network(self, engine: EngineName, precision: Precision, *, compiled: bool = False) -> Network:
        """The network, run on the threads that torch has now."""
        model = models.make(self.settings.model, width=self.settings.width)
        how = Engine(engine, torch.get_num_threads(), self.device)
        return Network(model, self.data.shape, self.data.classes, self.device, precision, how, compiled=compiled)

    def stack(self, network: Network) -> stack.Stack:
        """K fresh networks."""
        return stack.stack_networks([network.init("benchmark", k) for k in range(self.settings.members)])

    def ours(
        self,
        network: Network,
        objective: Objective = Objective(),  # noqa: B008 (frozen)
        members: int | None = None,
    ) -> Contestant:
        """Our training loop, which continues from round to round, in a process with the settings of a trial's."""
        keep_freed_memory()
        settings = self.settings
        count = settings.members if members is None else members
        training = Training(epochs=10_000, batch_size=settings.batch_size, lr=LR, schedule="constant", warmup=0)
        steps = training.steps(len(self.data.train))
        states = train(
            network,
            self.data,
            State(stack.slice_networks(self.stack(network), slice(0, count))),
            objective,
            training=training,
            seed=0,
            members=range(count),
            until=steps,
            meter=Meter(),
            stops=range(0, steps, settings.steps),
        )

        def step() -> float:
            next(state for state in states if state.step % settings.steps == 0)
            return self.work

        return step

    def reference(self) -> Contestant:
        """A plain PyTorch loop: torchvision, DataLoader workers, float32, members one after another."""
        settings, device = self.settings, self.device
        network = self.network("loop", "float32")
        modules = [network.fresh_module("benchmark", k).to(device).train() for k in range(settings.members)]
        optimizers = [
            torch.optim.SGD(module.parameters(), LR, momentum=0.9, weight_decay=5e-4, nesterov=True)
            for module in modules
        ]
        source = Pictures(self.data, image_transform(self.data))
        batches = _endless_batches(image_loader(source, settings.batch_size, os.cpu_count() or 1, device))

        def step() -> float:
            for module, optimizer in zip(modules, optimizers, strict=True):
                for _ in range(settings.steps):
                    pixels, labels = next(batches)
                    optimizer.zero_grad()
                    logits = module(pixels.to(device, non_blocking=True))
                    F.cross_entropy(logits, labels.to(device, non_blocking=True)).backward()
                    optimizer.step()
            return self.work

        return step

    def flops(self) -> float:
        """FLOP of one image's forward and backward pass, as counted by torch."""
        network = self.network("loop", "float32")
        module = network.fresh_module("benchmark", 0).to(self.device).train()
        pixels = torch.randn(2, *self.data.shape, device=self.device)
        with FlopCounterMode(display=False) as counter:
            module(pixels).sum().backward()
        return float(counter.get_total_flops()) / 2

    def saved(self, precision: Precision) -> float:
        """Bytes that one network's step keeps for its backward pass."""
        network = self.network("loop", precision)
        params, kept = network.init("benchmark", 0), {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        for name in network.weights:
            params[name].requires_grad_()
        pixels = torch.randn(self.settings.batch_size, *self.data.shape, device=self.device)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network(params, pixels, train=True)
        del logits
        return float(sum(kept.values()))


def _endless_batches(batches: Any) -> Any:
    while True:
        yield from batches


def against_plain(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Time of each contestant `…, ENGINE` relative to `plain, ENGINE`."""
    others = {name: f"plain, {name.rpartition(', ')[2]}" for name in timings if not name.startswith("plain, ")}
    return {f"{n}: times a plain step": 1 / rate_ratio(timings[n], timings[plain]) for n, plain in others.items()}
