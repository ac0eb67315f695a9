"""The only training loop: one stack, one objective, from one step to another."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.autograd import backward
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from basin import stack
from basin.data import Data
from basin.data.batches import batch, steps_per_epoch
from basin.network import Network
from basin.objective import Batch, Meter, Objective
from basin.seeds import generator
from basin.spec import Bounds, Search, check
from basin.stack import Params, Stack

Rate = Callable[[int], float]
"""Step → learning rate."""


class DivergedError(ArithmeticError):
    """The training loss is no longer finite."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The budget and the optimizer, the same for every member of every construction."""

    epochs: Annotated[int, Bounds(1)] = 40
    """Passes of one member over its training images, its share of a trunk included."""
    batch_size: Annotated[int, Bounds(1)] = 50
    """Images of one network's batch."""
    lr: Annotated[float, Bounds(0), Search(0.01, 0.5, log=True)] = 0.1
    """Peak learning rate."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd with Nesterov momentum, or adamw (β₁ = `momentum`, β₂ = 0.999), the usual choice for transformers."""
    momentum: Annotated[float, Bounds(0, 1)] = 0.9
    """Decay of the mean gradient."""
    weight_decay: Annotated[float, Bounds(0), Search(1e-5, 1e-1, log=True)] = 5e-4
    """L2 penalty added to the gradient (sgd), or decoupled from it (adamw)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    warmup: Annotated[float, Bounds(0, 1)] = 0.05
    """Fraction of the steps in which the learning rate rises linearly."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the training passes; evaluation is float32."""

    def __post_init__(self) -> None:
        check(self)

    def steps(self, images: int) -> int:
        """SGD steps of one member."""
        return self.epochs * steps_per_epoch(images, self.batch_size)

    def warmed_up(self, step: int, steps: int) -> float:
        """The peak learning rate, or less while it rises."""
        return self.lr * min(1.0, (step + 1) / (self.warmup * steps + 1))

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`."""
        warmup = self.warmup * steps
        if step < warmup:
            return self.warmed_up(step, steps)
        done = (step - warmup) / max(1.0, steps - warmup)
        return (
            self.lr * {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.schedule]
        )


@dataclass
class State:
    """All that the next step depends on, besides (seed, step): data order and augmentation are functions of these."""

    thetas: Stack
    slots: dict[str, Stack] = field(default_factory=dict)
    """Optimizer state: slot → weight name → tensor [K, …]."""
    step: int = 0
    loss: float = math.nan
    """Mean training loss of the members since the last yield, in nats."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "State":
        """The state with every tensor changed: moved to a device, copied, …"""
        slots = {slot: {name: change(t) for name, t in tensors.items()} for slot, tensors in self.slots.items()}
        return State({name: change(t) for name, t in self.thetas.items()}, slots, self.step, self.loss)

    def branch(self, count: int) -> "State":
        """`count` copies of a single network, optimizer state included."""
        slots = {slot: stack.repeat(stack.row(tensors, 0), count) for slot, tensors in self.slots.items()}
        return State(stack.repeat(stack.row(self.thetas, 0), count), slots, self.step)


def train(
    network: Network,
    data: Data,
    state: State,
    objective: Objective = Objective(),  # noqa: B008 (frozen)
    *,
    training: Training,
    seed: int,
    members: Sequence[int],
    until: int,
    meter: Meter,
    rate: Rate | None = None,
    stops: Collection[int] = (),
) -> Iterator[State]:
    """Train the stack in `state` to step `until`; yield at each end of an epoch, at each of `stops`, and at the end.

    `members` are the identities of the K networks: they choose data order and augmentation. `rate` replaces the
    schedule of `training`. The yielded state is live: copy it to keep it. Raises DivergedError when a loss is not
    finite.
    """
    thetas = state.thetas
    leaves = _Leaves(network, thetas)
    total, epoch = training.steps(len(data.train)), steps_per_epoch(len(data.train), training.batch_size)
    losses: list[Tensor] = []
    rate = rate or (lambda step: training.lr_at(step, total))
    while state.step < until:
        batches = [
            Batch(*batch(data, seed=seed, member=member, step=state.step, batch_size=training.batch_size))
            for member in members
        ]
        if objective.inputs:
            draws = [generator(seed, "inputs", member, state.step) for member in members]
            batches = [objective.inputs(b, draw) for b, draw in zip(batches, draws, strict=True)]
        losses.append(_backward(network, leaves, objective, batches, generator(seed, "constraint", state.step), meter))
        _STEPS[training.optimizer](training, leaves.stacked, state, rate(state.step))
        leaves.zero_grad()
        state.step += 1
        if state.step % epoch == 0 or state.step == until or state.step in stops:
            state.loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(state.loss):
                raise DivergedError(f"training loss is {state.loss} at step {state.step}")
            yield state


class _Leaves:
    """Autograd leaves over a stack's storage: the whole stack and each member, with shared gradients."""

    def __init__(self, network: Network, thetas: Stack) -> None:
        self.stacked = {name: thetas[name].detach().requires_grad_() for name in network.weights}
        self._grads = {name: torch.zeros_like(tensor) for name, tensor in self.stacked.items()}
        self.buffers = {name: tensor for name, tensor in thetas.items() if name not in self.stacked}
        self.members: list[Params] = []
        for k in range(stack.size(thetas)):
            member: Params = {name: tensor.detach()[k].requires_grad_() for name, tensor in self.stacked.items()}
            for name, leaf in member.items():
                leaf.grad = self._grads[name][k]
            self.members.append(member | stack.row(self.buffers, k))
        for name, tensor in self.stacked.items():
            tensor.grad = self._grads[name]

    def zero_grad(self) -> None:
        torch._foreach_zero_(list(self._grads.values()))


def _backward(
    network: Network, leaves: _Leaves, objective: Objective, batches: list[Batch], draws: torch.Generator, meter: Meter
) -> Tensor:
    """Accumulate the gradient of K·L; one network's graph is alive at a time. Returns the members' mean loss."""
    count = len(batches)
    units = stack.unit_rows(count)
    losses = []
    for k, member_batch in enumerate(batches):
        loss = objective.loss(network(leaves.members[k], member_batch.images, train=True), member_batch, units[k])
        backward(loss)
        losses.append(loss.detach())
        meter.passes += 1
    if objective.beta and objective.sampler:
        weights, source = objective.sampler(draws, count)
        for row, origin in zip(weights, source, strict=True):
            mixed = stack.row(stack.mix(leaves.stacked | leaves.buffers, row[None]), 0)
            loss = objective.loss(network(mixed, batches[origin].images, train=True), batches[origin], row)
            backward(objective.beta * count / len(source) * loss)
            meter.passes += 1
    for strength, penalty in objective.penalties:
        if strength:
            backward(strength * count * penalty(leaves.stacked))
    return torch.stack(losses).mean()


# torch.optim's functional forms: its classes import the compiler when first used, for longer than a trial may take.
def _sgd_step(training: Training, weights: Stack, state: State, lr: float) -> None:
    momentum = _slot(state, "momentum", weights)
    with torch.no_grad():
        sgd(
            list(weights.values()),
            _gradients(weights),
            [momentum[name] if training.momentum else None for name in weights],
            weight_decay=training.weight_decay,
            momentum=training.momentum,
            lr=lr,
            dampening=0,
            nesterov=training.momentum > 0,
            maximize=False,
            foreach=next(iter(weights.values())).is_cuda,
        )


def _adamw_step(training: Training, weights: Stack, state: State, lr: float) -> None:
    first, second = _slot(state, "momentum", weights), _slot(state, "square", weights)
    with torch.no_grad():
        adamw(
            list(weights.values()),
            _gradients(weights),
            [first[name] for name in weights],
            [second[name] for name in weights],
            [],
            [torch.tensor(float(state.step)) for _ in weights],
            amsgrad=False,
            beta1=training.momentum,
            beta2=0.999,
            lr=lr,
            weight_decay=training.weight_decay,
            eps=1e-8,
            maximize=False,
            foreach=next(iter(weights.values())).is_cuda,
        )


def _slot(state: State, name: str, weights: Stack) -> Stack:
    return state.slots.setdefault(name, {weight: torch.zeros_like(tensor) for weight, tensor in weights.items()})


def _gradients(weights: Stack) -> list[Tensor]:
    return [tensor.grad for tensor in weights.values() if tensor.grad is not None]


_STEPS = {"sgd": _sgd_step, "adamw": _adamw_step}
