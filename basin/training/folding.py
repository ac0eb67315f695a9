"""Fold BatchNorm into the convolution before it, for a network that only predicts: one operation instead of two.

With running statistics BatchNorm is an affine map of each channel, and so is what it makes of a convolution's weights
and bias (`torch.nn.utils.fusion`).
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from basin import stack
from basin.stack import Params, Stack

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
READS = frozenset({"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero"})
"""Operations by which a module can make its next step depend on the values of the images."""


@dataclass(frozen=True)
class FoldedModel:
    """A module whose BatchNorms let their input pass, and whose convolutions take their place."""

    module: nn.Module
    norms: Mapping[str, str]
    """Name of each convolution → name of the BatchNorm that it takes in."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The module, every such convolution with a bias. Its weights are not meant to be used."""
        module = copy.deepcopy(self.module)
        for convolution, norm in self.norms.items():
            part = module.get_submodule(convolution)
            if part.bias is None:
                part.bias = nn.Parameter(torch.zeros(part.weight.shape[0], device=part.weight.device))
            module.get_submodule(norm).forward = _pass_through  # type: ignore[method-assign]
        return module

    def fold(self, thetas: Stack) -> Stack:
        """The networks with every such BatchNorm in its convolution; all other tensors are those of `thetas`."""
        folded = [self._fold_network(network) for network in stack.iterate_networks(thetas)]
        return thetas | stack.stack_networks(folded)

    def _fold_network(self, params: Params) -> Params:
        folded = {}
        for convolution, norm in self.norms.items():
            names = [f"{norm}.{kind}" for kind in ("running_mean", "running_var")]
            scale, shift = (params.get(f"{norm}.{kind}") for kind in ("weight", "bias"))
            eps: Any = self.module.get_submodule(norm).eps
            weight, bias = params[f"{convolution}.weight"], params.get(f"{convolution}.bias")
            fused = fuse_conv_bn_weights(weight, bias, *(params[name] for name in names), eps, scale, shift)
            folded |= {f"{convolution}.{kind}": t.detach() for kind, t in zip(("weight", "bias"), fused, strict=True)}
        return folded


def fold_module(module: nn.Module, example: Tensor) -> FoldedModel | None:
    """Find the BatchNorms that can be folded, in a run on images `example`; None if there are none.

    One can be folded if in evaluation its only input is the result of one call of a convolution, which nothing else
    uses, and if no other operation uses the tensors of the two. A module that reads values of its tensors to choose
    what it computes is left as it is, since another image may take another way.
    """
    watched = copy.deepcopy(module).requires_grad_(False).eval()
    recorder = _Recorder(watched)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), recorder:
        outputs = watched(example)
    norms = recorder.foldable_norms(outputs)
    return FoldedModel(module, norms) if norms else None


class _Recorder(TorchDispatchMode):
    """Count which operations use the results of convolutions and the tensors of the module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._module = module
        self._uses: Counter[int] = Counter()
        self._calls: Counter[str] = Counter()
        self._results: dict[int, tuple[str, Tensor]] = {}
        self._taken: dict[str, str] = {}
        self._reads_values = False
        for name, part in module.named_modules():
            if type(part) in CONVOLUTIONS + BATCHNORMS and not part._forward_hooks and not part._forward_pre_hooks:
                self._watch(name, part)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Skip the import of torch's compiler, which takes seconds and has nothing to do here."""
        return False

    def foldable_norms(self, outputs: object) -> dict[str, str]:
        """Name of each convolution → name of its BatchNorm."""
        if self._reads_values:
            return {}
        for leaf in tree_leaves(outputs):
            self._uses[id(leaf)] += 1
        results = dict(self._results.values())
        return {
            convolution: norm
            for convolution, norm in self._taken.items()
            if self._calls[convolution] == self._calls[norm] == self._uses[id(results[convolution])] == 1
            and self._used_once(convolution)
            and self._used_once(norm)
        }

    def _watch(self, name: str, part: nn.Module) -> None:
        def after_convolution(part: nn.Module, inputs: Any, output: Tensor) -> None:
            self._calls[name] += 1
            self._results[id(output)] = (name, output)
            self._uses[id(output)] = 0  # of this tensor, not of one that was at its place before

        def before_norm(part: nn.Module, inputs: Any) -> None:
            self._calls[name] += 1
            convolution, _ = self._results.get(id(inputs[0]), ("", None))
            if convolution and isinstance(part, BATCHNORMS) and part.running_mean is not None and not part.training:
                self._taken[convolution] = name

        if isinstance(part, CONVOLUTIONS):
            part.register_forward_hook(after_convolution)
        else:
            part.register_forward_pre_hook(before_norm)

    def _used_once(self, name: str) -> bool:
        """True if one operation uses the submodule's tensors, and they are its own."""
        part = self._module.get_submodule(name)
        own = {kind: t for kind, t in part.state_dict(keep_vars=True).items() if t.is_floating_point()}
        tensors = [part.weight, part.bias, *((part.running_mean, part.running_var) if "running_mean" in own else ())]
        used = [tensor for tensor in tensors if tensor is not None]
        return {id(t) for t in used} == {id(t) for t in own.values()} and all(self._uses[id(t)] == 1 for t in used)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the tensors that it takes."""
        self._reads_values |= func._schema.name in READS
        for leaf in {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}:
            self._uses[leaf] += 1
        return func(*args, **(kwargs or {}))


def _pass_through(hidden: Tensor) -> Tensor:
    return hidden
