"""Run a module and record which axes of which tensors carry which units."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from basin.errors import UsageError
from basin.models.symmetry import WRITE_IT, Reading
from basin.models.tracing.labels import Algebra, Label
from basin.models.tracing.rules import Call, Rule, rule_of
from basin.models.tracing.units import Ids, Units


@dataclass(frozen=True)
class Record:
    """What a run of a module showed."""

    units: Units = field(default_factory=Units)
    tensors: dict[tuple[str, ...], tuple[Ids, ...]] = field(default_factory=dict)
    """The ids along each axis of the tensors that the module used, by all their names in the `state_dict`."""
    fields: list[Ids] = field(default_factory=list)
    """The ids that every result carried."""
    readings: dict[Reading, list[Label]] = field(default_factory=dict)
    """What went into and came out of the submodules, for each call."""


def record_module(module: nn.Module, example: Tensor) -> Record:
    """Run a copy of the module on the images, in evaluation and in training mode; raises UsageError.

    Both modes count: a module may have parts that it uses only in training.
    """
    images = example if len(example) > 1 else torch.cat([example, example])
    with torch.no_grad(), torch.random.fork_rng(), _plain_attention():
        module = copy.deepcopy(module).cpu().requires_grad_(False)
        recorder = _Recorder(module)
        images = images.detach().to("cpu", copy=True)
        for training in (False, True):
            recorder.run(module.train(training), images)
    return recorder.record


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as products and a softmax, not as one fused operation."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


class _Recorder(TorchDispatchMode):
    """Label the result of every operation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = Record()
        self._algebra = Algebra(self.record.units)
        self._labels: dict[int, tuple[Tensor, Label]] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._where: list[str] = [type(module).__name__]
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                self._names[id(tensor)] = (*self._names.get(id(tensor), ()), name)
        for name, part in module.named_modules():
            self._watch(name, part)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Skip the import of torch's compiler, which takes seconds and has nothing to do here."""
        return False

    def run(self, module: nn.Module, images: Tensor) -> None:
        """Record one call; its results stay in order."""
        self._set_label(images, Label(tuple(images.shape)))
        with self:
            outputs = module(images)
        for output in tree_leaves(outputs):
            if isinstance(output, Tensor):
                self._algebra.freeze(self._label_of(output), range(output.dim()))

    def _watch(self, name: str, part: nn.Module) -> None:
        def before(module: nn.Module, inputs: Any) -> None:
            self._where.append(f"{name} ({type(module).__name__})" if name else type(module).__name__)
            self._read(name, "input", inputs[0] if inputs else None)

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            self._where.pop()
            self._read(name, "output", output)

        part.register_forward_pre_hook(before)
        part.register_forward_hook(after)

    def _read(self, name: str, side: Literal["input", "output"], tensor: object) -> None:
        if isinstance(tensor, Tensor) and id(tensor) in self._labels:
            self.record.readings.setdefault((name, side), []).append(self._label_of(tensor))

    def _label_of(self, tensor: Tensor) -> Label:
        """A tensor's label; a tensor of the module gets its own at its first use."""
        if id(tensor) not in self._labels and id(tensor) in self._names:
            label = self._algebra.make(tensor.shape)
            self._set_label(tensor, label)
            ids = {field.axes[0]: field.ids for field in label.fields}
            zeros = [self.record.units.make(1).repeat(size) for size in tensor.shape]
            self.record.tensors[self._names[id(tensor)]] = tuple(
                ids.get(axis, zeros[axis]) for axis in range(tensor.dim())
            )
        if id(tensor) in self._labels:
            label = self._labels[id(tensor)][1]
            return self._algebra.label(label.shape, label.fields)
        return _constant_label(tensor)

    def _set_label(self, tensor: Tensor, label: Label) -> None:
        if tuple(tensor.shape) != label.shape:
            raise AssertionError(f"expected a label of shape {tuple(tensor.shape)}, got {label.shape}")
        self._labels[id(tensor)] = (tensor, label)
        self.record.fields.extend(field.ids for field in label.fields)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, then label its results."""
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        labelled = any(id(tensor) in self._labels or id(tensor) in self._names for tensor in operands)
        if labelled and func._schema.name.endswith("_") and id(args[0]) not in self._labels and args[0]._is_view():
            self._refuse(func, "of a tensor that holds no units yet")
        output = func(*args, **(kwargs or {}))
        if labelled and not func._schema.name.startswith("aten::new_"):
            self._label_results(func, args, kwargs or {}, output)
        return output

    def _label_results(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        results = tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        arguments = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        arguments |= dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        call = Call(self._algebra, arguments, results, self._label_of)
        apply = rule_of(func) or self._without_rule(func, call)
        labels = apply(call)
        if isinstance(labels, Label):
            labels = [labels if result.shape == results[0].shape else Label(tuple(result.shape)) for result in results]
        for result, label in zip(results, labels, strict=True):
            self._set_label(result, label)

    def _without_rule(self, func: Any, call: Call) -> Rule:
        """An operation without a rule may not see units."""
        if any(self._label_of(tensor).fields for tensor in tree_leaves(call.arguments) if isinstance(tensor, Tensor)):
            self._refuse(func, "on units")
        return lambda call: [Label(tuple(result.shape)) for result in call.results]

    def _refuse(self, func: Any, what: str) -> NoReturn:
        raise UsageError(f"{self._where[-1]}: tracing has no rule for {func} {what}: {WRITE_IT}")


def _constant_label(tensor: Tensor) -> Label:
    """A tensor that depends on neither images nor weights; along an axis where it does not change, all are alike."""
    shape = []
    for axis, size in enumerate(tensor.shape):
        uniform = size > 1 and bool((tensor == tensor.narrow(axis, 0, 1)).all())
        shape.append(1 if uniform else size)
    return Label(tuple(shape))
