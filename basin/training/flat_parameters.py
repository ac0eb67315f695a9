"""A stack's trained weights as one matrix [K, P] and their gradients as another, so that a step is few operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.stack import Params, Stack

ALIGNED = 64
"""Alignment of each tensor's first element: kernels read whole vectors and may refuse others."""


@dataclass(frozen=True)
class Leaves:
    """Several networks as autograd leaves with a leading axis."""

    weights: Stack
    buffers: Stack
    grads: Stack
    """Views into which gradients are accumulated."""

    @property
    def thetas(self) -> Stack:
        """The networks."""
        return self.weights | self.buffers

    def backward(self, value: Tensor) -> None:
        """Accumulate the gradient of a scalar."""
        gradients = torch.autograd.grad(value, list(self.weights.values()))
        torch._foreach_add_(list(self.grads.values()), list(gradients))


@dataclass(frozen=True)
class Mixed:
    """Mixed networks of one training step; their buffers are scratch."""

    weights: Float[Tensor, "S P"]
    grads: Float[Tensor, "S P"]
    alone: list[Params]
    """Each of them as leaves with gradients in a row of `grads`."""
    together: Leaves


class Flat:
    """A stack whose trained tensors, and their gradients, are views into one matrix each."""

    def __init__(self, thetas: Stack, names: Sequence[str]) -> None:
        """Copy the named tensors of `thetas` into the matrix; the others are its buffers, which are not copied."""
        self.names = tuple(names)
        self.slots: dict[str, Tensor] = {}
        """Optimizer state for each weight, [K, P] each."""
        shapes = [thetas[name].shape[1:] for name in names]
        starts = [0, *accumulate(-(-shape.numel() // ALIGNED) * ALIGNED for shape in shapes)]
        self.places = [(n, shape, at, at + shape.numel()) for n, shape, at in zip(names, shapes, starts, strict=False)]
        """Name, shape, first column and end column of each tensor in a row."""
        self._columns = starts[-1]
        self.weights: Float[Tensor, "K P"] = self.matrix(thetas)
        self.grads: Float[Tensor, "K P"] = torch.zeros_like(self.weights)
        self.thetas: Stack = thetas | self.views(self.weights)
        """The stack with views of the matrix in place of the named tensors."""
        self.buffers = {name: tensor for name, tensor in thetas.items() if name not in set(names)}
        """The tensors of the stack that are not trained."""
        self._members = self._separate_leaves(self.weights, self.grads, self.buffers)
        self._mixed: dict[int, Mixed] = {}

    def matrix(self, thetas: Stack) -> Float[Tensor, "K P"]:
        """The named tensors of each network as one row."""
        made = thetas[self.names[0]].new_zeros(stack.count_networks(thetas), self._columns)
        for name, view in self.views(made).items():
            view.copy_(thetas[name])
        return made

    def views(self, matrix: Float[Tensor, "R P"]) -> Stack:
        """The rows of a matrix as a stack, of which each tensor is a view."""
        return {name: matrix[:, at:end].view(-1, *shape) for name, shape, at, end in self.places}

    def member(self, k: int) -> Params:
        """Member k: leaves with gradients in row k, and its buffers, which training updates in place."""
        return self._members[k]

    def members(self, chosen: slice) -> Leaves:
        """Several members."""
        return self._stacked_leaves(
            self.weights[chosen], self.grads[chosen], stack.slice_networks(self.buffers, chosen)
        )

    def mixed(self, rows: Float[Tensor, "S K"]) -> Mixed:
        """The networks `rows @ weights`, valid until the next call with as many rows."""
        count = len(rows)
        if count not in self._mixed:
            weights, grads = (self.weights.new_zeros(count, self.weights.shape[1]) for _ in range(2))
            unused = stack.repeat_network(stack.network_at(self.buffers, 0), count)
            alone, together = (
                self._separate_leaves(weights, grads, unused),
                self._stacked_leaves(weights, grads, unused),
            )
            self._mixed[count] = Mixed(weights, grads, alone, together)
        mixed = self._mixed[count]
        torch.matmul(self._to_device(rows), self.weights, out=mixed.weights)
        mixed.grads.zero_()
        return mixed

    def take(self, rows: Float[Tensor, "S K"], mixed: Mixed, scale: float) -> None:
        """Add `scale` times the mixed networks' gradients G to the members': Wᵀ G, the chain rule of a linear map."""
        self.grads.addmm_(self._to_device(rows).T, mixed.grads, alpha=scale)

    def _to_device(self, rows: Tensor) -> Tensor:
        return rows.to(self.weights, non_blocking=True)  # a synchronous copy would stall on the previous step

    def _separate_leaves(self, weights: Tensor, grads: Tensor, buffers: Stack) -> list[Params]:
        pairs = enumerate(zip(weights, grads, strict=True))
        return [self._network_leaves(row, grad) | stack.network_at(buffers, k) for k, (row, grad) in pairs]

    def _network_leaves(self, weights: Float[Tensor, " P"], grads: Float[Tensor, " P"]) -> Params:
        leaves = {name: weights[at:end].view(shape).requires_grad_() for name, shape, at, end in self.places}
        for name, shape, at, end in self.places:
            leaves[name].grad = grads[at:end].view(shape)
        return leaves

    # Without `.grad`: autograd wants the gradient of a strided leaf to be dense, so gradients are added explicitly.
    def _stacked_leaves(self, weights: Tensor, grads: Tensor, buffers: Stack) -> Leaves:
        leaves = {name: view.detach().requires_grad_() for name, view in self.views(weights).items()}
        return Leaves(leaves, buffers, self.views(grads))
