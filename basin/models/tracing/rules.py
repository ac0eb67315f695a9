"""Effects of PyTorch's operations on labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from basin.models.tracing.labels import Algebra, Label, Variables


@dataclass(frozen=True)
class Call:
    """One operation: its arguments and results by name, with labels of tensors."""

    algebra: Algebra
    arguments: dict[str, Any]
    results: tuple[Tensor, ...]
    label_of: Callable[[Tensor], Label]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def label(self, name: str) -> Label:
        """The label of a tensor argument."""
        return self.label_of(self.arguments[name])

    def tensors(self) -> list[Tensor]:
        """All tensor arguments."""
        return [value for value in self.arguments.values() if isinstance(value, Tensor)]

    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return tuple(self.results[0].shape)

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """An axis argument, counted from the front."""
        return int(self[name]) % max(1, int(self[of].dim()))

    def axes(self, name: str = "dim", of: str = "self") -> tuple[int, ...]:
        """An argument of one or several axes; all if it is None or empty."""
        value, count = self[name], self[of].dim()
        axes = [value] if isinstance(value, int) else value
        return tuple(axis % count for axis in axes) if axes else tuple(range(count))


Rule = Callable[[Call], Label | Sequence[Label]]
"""The label of every result, or those of each."""
RuleType = TypeVar("RuleType", bound=Rule)
RULES: dict[str, Rule] = {}
"""Rules by name of the operation, without `aten::` and without the final underscore of in-place operations."""


def rule(*names: str) -> Callable[[RuleType], RuleType]:
    """Register a rule."""

    def register(function: RuleType) -> RuleType:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


# Functions of the values at equal positions


def _aligned(label: Label, count: int) -> Variables:
    """Axes of a broadcast tensor by their position in a result of `count` axes."""
    return range(count - len(label.shape), count)


@rule("clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh", "copy", "bernoulli", "native_dropout")
@rule("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "hardswish", "prelu", "glu_jvp")
def pointwise(call: Call) -> Label:
    """All operands move alike."""
    shape = call.shape()
    labels = [call.label_of(tensor) for tensor in call.tensors()]
    return call.algebra.combine([(label, _aligned(label, len(shape))) for label in labels], range(len(shape)), shape)


# Products


def _contraction(result: str, /, **operands: str) -> Rule:
    """A product of operands, each with a variable for each of its axes; a bias may lack the first ones."""

    def contract(call: Call) -> Label:
        labels = [(call.label(name), variables) for name, variables in operands.items()]
        named = [(label, variables[len(variables) - len(label.shape) :]) for label, variables in labels]
        return call.algebra.combine(named, result, call.shape())

    return contract


RULES |= {
    "mm": _contraction("ij", self="ik", mat2="kj"),
    "addmm": _contraction("ij", mat1="ik", mat2="kj", self="ij"),
    "bmm": _contraction("nij", self="nik", mat2="nkj"),
    "baddbmm": _contraction("nij", batch1="nik", batch2="nkj", self="nij"),
    "mv": _contraction("i", self="ik", vec="k"),
    "dot": _contraction("", self="k", tensor="k"),
}


@rule("convolution")
def convolution(call: Call) -> Label:
    """Units are channels. Groups are blocks; the axis that their weights share keeps its order."""
    algebra, groups, shape = call.algebra, call["groups"], call.shape()
    inputs, weight = (_without_places(algebra, call.label(name)) for name in ("input", "weight"))
    if groups > 1:
        weight = algebra.freeze(weight, [1])
    operands: list[tuple[Label, Variables]] = [
        (algebra.split(inputs, 1, (groups, inputs.shape[1] // groups)), "ngc"),
        (algebra.split(weight, 0, (groups, weight.shape[0] // groups)), "gco" if call["transposed"] else "goc"),
    ]
    outputs = (groups, shape[1] // groups)
    if call["bias"] is not None:
        operands.append((algebra.split(call.label("bias"), 0, outputs), "go"))
    result = algebra.combine(operands, "ngo", (shape[0], *outputs))
    return Label(shape, algebra.merge(result, 1, 2).fields)


def _without_places(algebra: Algebra, label: Label) -> Label:
    """Only the first two axes; the others, which are spatial, are frozen."""
    frozen = algebra.freeze(label, range(2, len(label.shape)))
    return Label(label.shape[:2], frozen.fields)


# Normalisation and reductions


def _normalise(algebra: Algebra, label: Label, over: Sequence[int], affine: Sequence[tuple[Label, Variables]]) -> Label:
    """Divide by statistics over some axes; then scale and shift."""
    every = range(len(label.shape))
    kept = [axis for axis in every if axis not in over]
    statistics = algebra.combine([(label, every)], kept, [label.shape[axis] for axis in kept])
    return algebra.combine([(label, every), (statistics, kept), *affine], every, label.shape)


def _affine(call: Call, names: Sequence[str], variables: Variables) -> list[tuple[Label, Variables]]:
    return [(call.label(name), variables) for name in names if call.arguments.get(name) is not None]


@rule("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training")
@rule("_batch_norm_with_update", "_batch_norm_no_update")
def batch_norm(call: Call) -> Label:
    """Each channel by itself."""
    label = call.label("input")
    over = [axis for axis in range(len(label.shape)) if axis != 1]
    return _normalise(call.algebra, label, over, _affine(call, ("weight", "bias", "running_mean", "running_var"), [1]))


@rule("native_layer_norm", "_fused_rms_norm")
def layer_norm(call: Call) -> Label:
    """Statistics over the last axes, in any order."""
    label = call.label("input")
    over = range(len(label.shape) - len(call["normalized_shape"]), len(label.shape))
    return _normalise(call.algebra, label, over, _affine(call, ("weight", "bias"), over))


@rule("native_group_norm")
def group_norm(call: Call) -> Label:
    """The channels of a group are a block."""
    algebra, groups = call.algebra, call["group"]
    label = call.label("input")
    split = algebra.split(label, 1, (groups, label.shape[1] // groups))
    scales = _affine(call, ("weight", "bias"), [1, 2])
    scales = [(algebra.split(scale, 0, (groups, label.shape[1] // groups)), axes) for scale, axes in scales]
    return algebra.merge(_normalise(algebra, split, range(2, len(split.shape)), scales), 1, 2)


@rule("_softmax", "_log_softmax", "_safe_softmax")
def softmax(call: Call) -> Label:
    """Positions of the axis in any order."""
    return _normalise(call.algebra, call.label("self"), [call.axis()], [])


@rule("sum", "mean", "amax", "amin", "logsumexp", "var", "std", "prod", "linalg_vector_norm", "norm", "all", "any")
@rule("var_mean", "std_mean")
def reduce(call: Call) -> Label:
    """Symmetric functions of the values along axes."""
    axes = call.axes() if "dim" in call.arguments else tuple(range(call["self"].dim()))
    return _reduced(call, axes)


def _reduced(call: Call, axes: Sequence[int]) -> Label:
    label = call.label("self")
    every = range(len(label.shape))
    kept = [axis for axis in every if axis not in axes]
    result = every if call.arguments.get("keepdim") else kept
    sizes = [1 if axis in axes else label.shape[axis] for axis in result]
    reduced = call.algebra.combine([(label, every)], kept, [label.shape[axis] for axis in kept])
    return call.algebra.combine([(reduced, kept)], result, sizes)


@rule("max", "min", "median", "mode", "argmax", "argmin")
def choose(call: Call) -> Label:
    """The chosen position is a result too, so the order along the axis stays."""
    if len(call.tensors()) > 1:
        return pointwise(call)
    whole = call.arguments.get("dim") is None
    if whole and call.results[0].is_floating_point():
        return Label(())
    axes = tuple(range(call["self"].dim())) if whole else (call.axis(),)
    frozen = call.algebra.freeze(call.label("self"), axes)
    return _reduced(replace(call, label_of=lambda _: frozen), axes)


@rule("cumsum", "cumprod", "sort", "topk", "logcumsumexp")
def ordered(call: Call) -> Label:
    """The order along the axis stays."""
    frozen = call.algebra.freeze(call.label("self"), [call.axis()])
    return call.algebra.label(call.shape(), frozen.fields)


def _frozen_places(count: int) -> Rule:
    def pool(call: Call) -> Label:
        name = "input" if "input" in call.arguments else "self"
        label = call.label(name)
        frozen = call.algebra.freeze(label, range(len(label.shape) - count, len(label.shape)))
        return Label(call.shape(), frozen.fields)

    return pool


for _count in (1, 2, 3):
    for _name in ("max_pool{}d_with_indices", "avg_pool{}d", "_adaptive_avg_pool{}d", "adaptive_max_pool{}d"):
        RULES[_name.format(_count)] = _frozen_places(_count)
    for _name in ("reflection_pad{}d", "replication_pad{}d", "upsample_nearest{}d", "_upsample_nearest_exact{}d"):
        RULES[_name.format(_count)] = _frozen_places(_count)
for _name in ("upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d", "_upsample_bicubic2d_aa"):
    RULES[_name] = _frozen_places(2)
RULES |= {"upsample_linear1d": _frozen_places(1), "upsample_trilinear3d": _frozen_places(3)}
RULES |= {
    "pixel_shuffle": _frozen_places(3),
    "pixel_unshuffle": _frozen_places(3),
    "adaptive_avg_pool3d": _frozen_places(3),
}


# Changes of shape and order


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "as_strided")
def reshape(call: Call) -> Label:
    """The same values in the same order."""
    label = call.label("self")
    if "stride" in call.arguments and not _same_layout(call):
        label = call.algebra.freeze(label, range(len(label.shape)))
        return Label(call.shape())
    return call.algebra.reshape(label, call.shape())


def _same_layout(call: Call) -> bool:
    """A view that only drops or inserts axes of length 1 keeps the values in their order."""
    given = [(n, s) for n, s in zip(call["self"].shape, call["self"].stride(), strict=True) if n > 1]
    return given == [(n, s) for n, s in zip(call["size"], call["stride"], strict=True) if n > 1]


@rule("t", "transpose", "permute", "movedim", "numpy_T")
def permute(call: Call) -> Label:
    """Axes in another order."""
    label = call.label("self")
    order = list(range(len(label.shape)))
    if "dims" in call.arguments:
        order = list(call.axes("dims"))
    elif "dim0" in call.arguments:
        first, second = call.axis("dim0"), call.axis("dim1")
        order[first], order[second] = second, first
    else:
        order.reverse()
    return call.algebra.permute(label, order)


@rule("expand")
def expand(call: Call) -> Label:
    """Broadcast axes have no units."""
    label, shape = call.label("self"), call.shape()
    return call.algebra.combine([(label, _aligned(label, len(shape)))], range(len(shape)), shape)


@rule("repeat")
def repeat(call: Call) -> Label:
    """Each unit has more places."""
    shape, label = call.shape(), call.label("self")
    label = call.algebra.reshape(label, (1,) * (len(shape) - len(label.shape)) + label.shape)
    for axis, size in enumerate(shape):
        label = call.algebra.take(label, axis, np.arange(size) % label.shape[axis])
    return label


@rule("slice", "flip", "roll", "index_select", "select", "narrow")
def take(call: Call) -> Label:
    """Positions of an axis, found by taking them from their numbers."""
    label, name = call.label("self"), "dims" if "dims" in call.arguments else "dim"
    axes = call.axes(name)
    shifts = call.arguments.get("shifts", ())
    for number, axis in enumerate(axes):
        places = np.arange(label.shape[axis])
        if "start" in call.arguments:
            places = places[slice(call["start"], call["end"], call["step"])]
        elif "shifts" in call.arguments:
            places = np.roll(places, shifts[number] if isinstance(shifts, Sequence) else shifts)
        elif "index" in call.arguments:
            places = places[np.atleast_1d(np.asarray(call["index"]))]
        else:
            places = places[::-1]
        label = call.algebra.take(label, axis, places)
    return call.algebra.reshape(label, call.shape())


@rule("split", "split_with_sizes", "unbind", "chunk")
def pieces(call: Call) -> list[Label]:
    """Consecutive positions of an axis."""
    label, axis, start, labels = call.label("self"), call.axis(), 0, []
    for piece in call.results:
        size = piece.shape[axis] if piece.dim() == len(label.shape) else 1
        taken = call.algebra.take(label, axis, np.arange(start, start + size))
        labels.append(call.algebra.reshape(taken, piece.shape))
        start += size
    return labels


@rule("cat")
def concatenate(call: Call) -> Label:
    """Positions one after another."""
    tensors = [tensor for tensor in call["tensors"] if tensor.numel()]
    axis = int(call["dim"]) % len(call.shape())
    return call.algebra.concatenate([_unshortened(call, tensor, axis) for tensor in tensors], axis)


@rule("stack")
def stack(call: Call) -> Label:
    """Tensors along a new axis."""
    axis = int(call["dim"]) % len(call.shape())
    labels = [call.label_of(tensor) for tensor in call["tensors"]]
    wide = [call.algebra.reshape(label, (*label.shape[:axis], 1, *label.shape[axis:])) for label in labels]
    return call.algebra.concatenate(wide, axis)


def _unshortened(call: Call, tensor: Tensor, axis: int) -> Label:
    """The label with all positions of an axis, where those of a constant may be alike."""
    label, size = call.label_of(tensor), tensor.shape[axis]
    return label if label.shape[axis] == size else _padding(call.algebra, label, axis, size)


@rule("constant_pad_nd")
def pad(call: Call) -> Label:
    """Padded positions are alike: units of their own, in any order."""
    label, widths = call.label("self"), call["pad"]
    for axis, before, after in zip(reversed(range(len(label.shape))), widths[::2], widths[1::2], strict=False):
        label = _pad_axis(call.algebra, label, axis, before, after)
    return label


def _pad_axis(algebra: Algebra, label: Label, axis: int, before: int, after: int) -> Label:
    carried = any(axis in field.axes for field in label.fields)
    if carried and min(before, after) >= 0:
        around = [_padding(algebra, label, axis, size) if size else None for size in (before, after)]
        return algebra.concatenate([part for part in (around[0], label, around[1]) if part], axis)
    frozen = algebra.freeze(label, [axis])
    size = label.shape[axis] + before + after
    return Label((*label.shape[:axis], size, *label.shape[axis + 1 :]), frozen.fields)


def _padding(algebra: Algebra, label: Label, axis: int, size: int) -> Label:
    """Equal values; along the axis each is a unit of its own."""
    return algebra.make([size if position == axis else 1 for position in range(len(label.shape))])


@rule("embedding")
def embedding(call: Call) -> Label:
    """Rows stay in order; columns keep their units."""
    table = call.algebra.freeze(call.label("weight"), [0])
    last = len(call.shape()) - 1
    return call.algebra.combine([(table, [None, last])], range(last + 1), call.shape())


@rule("index")
def index(call: Call) -> Label:
    """Indexed axes stay in order; the others keep their units."""
    given = [*call["indices"], *[None] * (call["self"].dim() - len(call["indices"]))]
    indexed = [axis for axis, places in enumerate(given) if places is not None]
    label = call.algebra.freeze(call.label("self"), indexed)
    for axis in indexed:
        call.algebra.freeze(call.label_of(given[axis]), range(given[axis].dim()))
    extra = len(call.shape()) - (len(given) - len(indexed))
    together = indexed == list(range(indexed[0], indexed[-1] + 1))
    front = indexed[0] if together else 0
    variables: list[int | None] = [None] * len(given)
    position = 0
    for axis in range(len(given)):
        if position == front:
            position += extra
        if axis not in indexed:
            variables[axis] = position
            position += 1
    return call.algebra.combine([(label, variables)], range(len(call.shape())), call.shape())


def rule_of(func: torch._ops.OpOverload) -> Rule | None:
    """The rule of an operation, if it has one."""
    name = func._schema.name.removeprefix("aten::")
    for candidate in (name, name.removesuffix("_"), name.removesuffix("_copy")):
        if candidate in RULES:
            return RULES[candidate]
    return pointwise if torch.Tag.pointwise in func.tags else None
