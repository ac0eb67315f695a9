"""A network as a function of its weights."""

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from basin import stack
from basin.engine import Engine
from basin.errors import UsageError
from basin.models import Model
from basin.seeds import derive
from basin.stack import Params, Stack

Precision = Literal["float32", "bfloat16"]


class Network:
    """A module used as a pure function of (parameters, images); the module itself holds no weights that matter."""

    def __init__(
        self,
        model: Model,
        shape: tuple[int, int, int],
        classes: int,
        device: torch.device,
        precision: Precision = "float32",
        engine: Engine | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self._build: Callable[[], nn.Module] = lambda: model.build(shape, classes)
        self.module = self._build().to(device)
        """Its structure; the weights in it are not used."""
        self.precision = precision
        """Arithmetic of training passes."""
        self.device = device
        self.engine = engine or Engine(device=device)
        """How several networks are run."""
        self.weights = tuple(name for name, _ in self.module.named_parameters())
        """Names of the trained tensors; all others are buffers."""
        self.batchnorms = tuple(
            name for name, module in self.module.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        )
        """Names of the modules whose running statistics depend on the data."""
        self._compiled = torch.compile(_functional(copy.deepcopy(self.module).train())) if compiled else None
        self.recordings: dict[object, Any] = {}
        """Recorded forward passes, by what they are of."""
        self._local = threading.local()
        self._local.slots = _Slots(self.module, self.batchnorms)

    def init(self, *seed: object) -> Params:
        """Freshly drawn weights: the same on every device, whatever was drawn before."""
        return stack.to(stack.of_module(self.fresh_module(*seed)), self.device)

    def fresh_module(self, *seed: object) -> nn.Module:
        """A plain module with these weights, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(*seed, "init"))  # not the GPU's, which would not be restored
            return self._build()

    def __call__(
        self,
        params: Params,
        images: Tensor,
        *,
        train: bool = False,
        precision: Precision | None = None,
        momentum: float | None = None,
    ) -> Tensor:
        """Logits [batch, classes] in float32 or wider.

        With `train`, BatchNorm uses batch statistics and updates the running ones in `params` in place, at its own
        `momentum` or this one. `precision` is the training's if `train`, else float32, unless it is given.
        """
        images, autocast = _channels_last(images), self._autocast(train, precision)
        if self._compiled and train and momentum is None and torch.is_grad_enabled():
            logits: Tensor = self._compiled(params, images, autocast)
            return logits
        return self._slots().call(params, images, train, autocast, momentum)

    def each(
        self,
        thetas: Stack,
        images: Sequence[Tensor],
        *,
        train: bool = False,
        precision: Precision | None = None,
        momentum: float | None = None,
        together: bool = False,
    ) -> Float[Tensor, "K batch classes"]:
        """Logits of K networks, each on images of its own; `together` in one call over a leading member axis."""
        if not together:
            kept = {"train": train, "precision": precision, "momentum": momentum}
            return torch.stack([self(p, x, **kept) for p, x in zip(stack.rows(thetas), images, strict=True)])  # type: ignore[arg-type]
        slots, autocast = self._slots(), self._autocast(train, precision)
        if autocast and train and self.batchnorms and self.device.type == "cuda":
            raise UsageError("engine=stacked: torch cannot batch BatchNorm in bfloat16 on a GPU; take engine=graphs")

        def one(params: Params, x: Tensor) -> Tensor:
            return slots.call(params, x, train, autocast, momentum)

        shared = all(x is images[0] for x in images)
        return torch.func.vmap(one, in_dims=(0, None if shared else 0), randomness="different")(
            thetas, images[0] if shared else torch.stack(list(images))
        )

    def _autocast(self, train: bool, precision: Precision | None) -> bool:
        return (precision or (self.precision if train else "float32")) == "bfloat16"

    def _slots(self) -> "_Slots":
        """This thread's module: its tables are written to at each call."""
        if not hasattr(self._local, "slots"):
            self._local.slots = _Slots(copy.deepcopy(self.module), self.batchnorms)
        found: _Slots = self._local.slots
        return found


class _Slots:
    """Where a module looks its tensors up. One thread writes to them at a time."""

    def __init__(self, module: nn.Module, batchnorms: Sequence[str]) -> None:
        self._module = module
        self._batchnorms: list[Any] = [module.get_submodule(name) for name in batchnorms]
        self._momenta = [norm.momentum for norm in self._batchnorms]
        self._places = {name: self._place(name) for name in module.state_dict()}

    def call(self, params: Params, images: Tensor, train: bool, autocast: bool, momentum: float | None) -> Tensor:
        if self._module.training != train:
            self._module.train(train)
        own = {name: table[leaf] for name, (table, leaf) in self._places.items()}
        try:
            self._insert(params)
            self._set_momentum(momentum)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                logits: Tensor = self._module(images)
        finally:
            self._insert(own)
            self._set_momentum(None)
        return _wide(logits)

    # What torch.func.functional_call does, which looks every name up again at each call: for a small network that
    # took longer than its convolutions.
    def _insert(self, params: Params) -> None:
        for name, (table, leaf) in self._places.items():
            table[leaf] = params[name]

    def _set_momentum(self, momentum: float | None) -> None:
        for norm, own in zip(self._batchnorms, self._momenta, strict=True):
            norm.momentum = own if momentum is None else momentum

    def _place(self, name: str) -> tuple[dict[str, Any], str]:
        parent, _, leaf = name.rpartition(".")
        module = self._module.get_submodule(parent)
        return (module._parameters if leaf in module._parameters else module._buffers), leaf


def _functional(module: nn.Module) -> Callable[[Params, Tensor, bool], Tensor]:
    def call(params: Params, images: Tensor, autocast: bool) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            return _wide(torch.func.functional_call(module, params, (images,)))

    return call


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype == torch.bfloat16 else logits


def _channels_last(images: Tensor) -> Tensor:
    """The layout in which convolutions are fastest, on CPUs and GPUs alike."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images
