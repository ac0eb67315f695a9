"""A network as a function of its weights."""

import copy
import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from basin import stack
from basin.errors import UsageError
from basin.models import Model
from basin.models.symmetry import Symmetry, symmetry_of
from basin.seeds import derive_seed
from basin.stack import Params, Stack
from basin.training.execution_mode import Engine
from basin.training.folding import fold_module

Precision = Literal["float32", "bfloat16"]


class Network:
    """A module as a pure function of (parameters, images); the module's own weights are not used."""

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
        """The module's structure; its weights are not used."""
        self.precision = precision
        """Arithmetic of training passes."""
        self.shape = shape
        """Of the images: channels, height, width."""
        self.device = device
        self.engine = engine or Engine(device=device)
        """Chooses the execution mode of several networks."""
        self.weights = tuple(name for name, _ in self.module.named_parameters())
        """Names of the trained tensors; all others are buffers."""
        self.batchnorms = tuple(
            name
            for name, module in self.module.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        )
        """Names of the BatchNorm modules that keep running statistics."""
        self._compiled = torch.compile(_functional_module(copy.deepcopy(self.module).train())) if compiled else None
        self.recordings: dict[object, Any] = {}
        """Captured forward passes by number of networks, image shape and mode."""
        self._without_batchnorms: tuple[Network, Callable[[Stack], Stack]] | None = None
        self._local = threading.local()
        self._local.slots = _Slots(self.module, self.batchnorms)

    @cached_property
    def symmetry(self) -> Symmetry:
        """Permutations of its units; raises UsageError if the module has no spec and cannot be traced."""
        return symmetry_of(self.module, torch.zeros(2, *self.shape, device=self.device))

    def without_batchnorms(self, example: Tensor) -> "tuple[Network, Callable[[Stack], Stack]]":
        """Return a network that predicts the same, up to rounding, in less time, and what makes its weights.

        Its BatchNorms are folded into the convolutions before them, as found in a run on the images `example`, once.
        Where nothing can be folded, and on a GPU, it is this network. It only predicts: in training, and for the
        statistics, BatchNorm must see what the convolutions give.
        """
        if self._without_batchnorms is None:
            model = fold_module(self.module, example) if self.device.type == "cpu" and self.batchnorms else None
            if model is None:
                self._without_batchnorms = self, lambda thetas: thetas
            else:
                folded = Network(model, self.shape, 0, self.device, self.precision, self.engine)
                self._without_batchnorms = folded, model.fold
        return self._without_batchnorms

    def init(self, *seed: object) -> Params:
        """Initialise weights from a seed, identically on every device."""
        return stack.to_device(stack.of_module(self.fresh_module(*seed)), self.device)

    def fresh_module(self, *seed: object) -> nn.Module:
        """A plain module with these weights, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(
                derive_seed(*seed, "init")
            )  # not the GPU's, which would not be restored
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
        images, autocast = _channels_last(images), self._uses_bfloat16(train, precision)
        if self._compiled and train and momentum is None and torch.is_grad_enabled():
            logits: Tensor = self._compiled(params, images, autocast)
            return logits
        return self._thread_slots().call(params, images, train, autocast, momentum)

    def compute_logits(
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
            networks = zip(stack.iterate_networks(thetas), images, strict=True)
            return torch.stack([self(p, x, train=train, precision=precision, momentum=momentum) for p, x in networks])
        slots, autocast = self._thread_slots(), self._uses_bfloat16(train, precision)
        if autocast and train and self.batchnorms and self.device.type == "cuda":
            raise UsageError("engine=stacked: torch cannot batch BatchNorm in bfloat16 on a GPU; use engine=graphs")
        shared = all(x is images[0] for x in images)
        call = partial(slots.call, train=train, autocast=autocast, momentum=momentum)
        return torch.func.vmap(call, in_dims=(0, None if shared else 0), randomness="different")(
            thetas, images[0] if shared else torch.stack(list(images))
        )

    def _uses_bfloat16(self, train: bool, precision: Precision | None) -> bool:
        return (precision or (self.precision if train else "float32")) == "bfloat16"

    def _thread_slots(self) -> "_Slots":
        """This thread's module: each call writes to its tables."""
        if not hasattr(self._local, "slots"):
            self._local.slots = _Slots(copy.deepcopy(self.module), self.batchnorms)
        slots: _Slots = self._local.slots
        return slots


class _Slots:
    """The tables in which a module looks up its tensors. Only one thread may use them at a time."""

    def __init__(self, module: nn.Module, batchnorms: Sequence[str]) -> None:
        self._module = module
        self._batchnorms: list[Any] = [module.get_submodule(name) for name in batchnorms]
        self._momenta = [norm.momentum for norm in self._batchnorms]
        self._places = {name: self._tensor_table(name) for name in module.state_dict()}

    def call(self, params: Params, images: Tensor, train: bool, autocast: bool, momentum: float | None) -> Tensor:
        if self._module.training != train:
            self._module.train(train)
        kept = {name: table[leaf] for name, (table, leaf) in self._places.items()}
        try:
            self._insert_tensors(params)
            self._set_momentum(momentum)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                logits: Tensor = self._module(images)
        finally:
            self._insert_tensors(kept)
            self._set_momentum(None)
        return _to_float32(logits)

    # What torch.func.functional_call does, which looks every name up again at each call: for a small network that
    # took longer than its convolutions.
    def _insert_tensors(self, params: Params) -> None:
        for name, (table, leaf) in self._places.items():
            table[leaf] = params[name]

    def _set_momentum(self, momentum: float | None) -> None:
        for norm, default in zip(self._batchnorms, self._momenta, strict=True):
            norm.momentum = default if momentum is None else momentum

    def _tensor_table(self, name: str) -> tuple[dict[str, Any], str]:
        parent, _, leaf = name.rpartition(".")
        module = self._module.get_submodule(parent)
        return (module._parameters if leaf in module._parameters else module._buffers), leaf


def _functional_module(module: nn.Module) -> Callable[[Params, Tensor, bool], Tensor]:
    def call(params: Params, images: Tensor, autocast: bool) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            return _to_float32(torch.func.functional_call(module, params, (images,)))

    return call


def _to_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype == torch.bfloat16 else logits


def _channels_last(images: Tensor) -> Tensor:
    """The memory layout in which convolutions are fastest on CPUs and GPUs."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images
