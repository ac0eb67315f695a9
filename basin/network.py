"""A network as a function of its weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from basin import stack
from basin.models import Model
from basin.seeds import derive
from basin.stack import Params


class Network:
    """A module used as a pure function of (parameters, images); the module itself holds no weights that matter."""

    def __init__(
        self, model: Model, shape: tuple[int, int, int], classes: int, device: torch.device, precision: str = "float32"
    ) -> None:
        self._build: Callable[[], nn.Module] = lambda: model.build(shape, classes)
        self.module = self._build().to(device)
        """Its structure; the weights in it are not used."""
        self._autocast = precision == "bfloat16"
        self.device = device
        self.weights = tuple(name for name, _ in self.module.named_parameters())
        """Names of the trained tensors; all others are buffers."""
        self.batchnorms = tuple(
            name for name, module in self.module.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        )
        """Names of the modules whose running statistics depend on the data."""
        self._places = {name: self._place(name) for name in self.module.state_dict()}

    def init(self, *seed: object) -> Params:
        """Freshly drawn weights: the same on every device, whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(*seed, "init"))  # not the GPU's, which would not be restored
            fresh = stack.of_module(self._build())
        return stack.to(fresh, self.device)

    def __call__(self, params: Params, images: Tensor, *, train: bool = False) -> Tensor:
        """Logits [batch, classes] in float32 or wider.

        With `train`, BatchNorm uses batch statistics and updates the running ones in `params` in place.
        """
        if self.module.training != train:
            self.module.train(train)
        own = {name: table[leaf] for name, (table, leaf) in self._places.items()}
        try:
            self._insert(params)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast and train):
                logits: Tensor = self.module(images)
        finally:
            self._insert(own)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    # What torch.func.functional_call does, which looks every name up again at each call: for a small network that
    # took longer than its convolutions.
    def _insert(self, params: Params) -> None:
        for name, (table, leaf) in self._places.items():
            table[leaf] = params[name]

    def _place(self, name: str) -> tuple[dict[str, Any], str]:
        parent, _, leaf = name.rpartition(".")
        module = self.module.get_submodule(parent)
        return (module._parameters if leaf in module._parameters else module._buffers), leaf

    @contextmanager
    def cumulative_statistics(self) -> Iterator[None]:
        """Within, BatchNorm's running statistics are plain averages over the batches seen, in float32."""
        modules: list[Any] = [self.module.get_submodule(name) for name in self.batchnorms]
        momenta, autocast = [module.momentum for module in modules], self._autocast
        try:
            self._autocast = False
            for module in modules:
                module.momentum = None
            yield
        finally:
            self._autocast = autocast
            for module, momentum in zip(modules, momenta, strict=True):
                module.momentum = momentum
