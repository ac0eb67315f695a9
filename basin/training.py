"""The only training loop: one stack, one objective, from one step to another."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from basin import interrupt, stack
from basin.data import Data
from basin.data.batches import drawn_batches, draws, steps_per_epoch
from basin.engine import Prepare, Way, out_of_memory
from basin.flat import Flat
from basin.gradients import Gradients
from basin.graphs import GraphGradients
from basin.network import Network
from basin.objective import Batch, Draw, Meter, Objective
from basin.recording import Work, recorded
from basin.seeds import generator
from basin.spec import Bounds, Search, check
from basin.stack import Stack

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
    seconds: float | None = None
    """Wall seconds that a single run took to here, over its launches; None if that is not known."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "State":
        """The state with every tensor changed: moved to a device, copied, …"""
        slots = {slot: {name: change(t) for name, t in tensors.items()} for slot, tensors in self.slots.items()}
        thetas = {name: change(t) for name, t in self.thetas.items()}
        return State(thetas, slots, self.step, self.loss, self.seconds)

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
    finite, PreemptedError when the process must go: then `state` is at the last step that was done.
    """
    flat = Flat(state.thetas, network.weights)
    total, epoch = training.steps(len(data.train)), steps_per_epoch(len(data.train), training.batch_size)
    losses: list[Tensor] = []
    rate = rate or (lambda step: training.lr_at(step, total))
    source = Source(data, objective, training.batch_size, seed, tuple(members))

    def gradients(way: Way, own: Flat) -> Gradients:
        kind = GraphGradients if way.name == "graphs" else Gradients
        return kind(network, own, objective, meter, way)

    def prepare(way: Way) -> Callable[[], Tensor]:
        trying = gradients(way, Flat(state.map(torch.clone).thetas, network.weights))
        return lambda: trying.step(*source.take(state.step))

    ours: Gradients | None = None
    while state.step < until:
        interrupt.check()
        try:
            ours = ours or gradients(_chosen(network, source, prepare, meter), flat)
            losses.append(ours.step(*source.take(state.step)).mean())
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error) from None
        _STEPS[training.optimizer](training, flat, state, rate(state.step))
        flat.grads.zero_()
        state.step += 1
        if state.step % epoch == 0 or state.step == until or state.step in stops:
            state.loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(state.loss):
                raise DivergedError(f"training loss is {state.loss} at step {state.step}")
            interrupt.alive()
            yield state


@dataclass
class Source:
    """What each step's gradient is made of, as a function of the step alone."""

    data: Data
    objective: Objective
    batch_size: int
    seed: int
    members: tuple[int, ...]

    def __post_init__(self) -> None:
        self._drawn = torch.zeros(0)
        self._batches: tuple[Tensor, Tensor, Tensor]
        self._record: Work | None = None

    @property
    def kind(self) -> object:
        """What the cost of a step depends on, besides the number of networks."""
        return self.objective.beta > 0, type(self.objective.loss).__name__

    def take(self, step: int) -> tuple[list[Batch], Draw | None]:
        """The members' batches, and the mixed networks; on a GPU valid until the next are taken."""
        drawn = draws(self.data, seed=self.seed, members=self.members, step=step, batch_size=self.batch_size)
        found = zip(self.members, *self._made(drawn), strict=True)
        own = [self._seen(member, step, *each) for member, *each in found]
        sampler = self.objective.sampler if self.objective.beta else None
        return own, sampler(generator(self.seed, "constraint", step), len(own)) if sampler else None

    def _made(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and places in the training split of each member's batch."""
        if self._record is None:
            self._drawn = drawn.to(self.data.mean.device)
            self._record = recorded(self._make, self.data.mean.device)
        self._drawn.copy_(drawn, non_blocking=True)
        self._record()
        return self._batches

    def _make(self) -> None:
        every = (*drawn_batches(self.data, self._drawn), self._drawn[0])
        images, labels, places = (tensor.unflatten(0, (len(self.members), -1)) for tensor in every)
        self._batches = images, labels, places

    def _seen(self, member: int, step: int, images: Tensor, labels: Tensor, places: Tensor) -> Batch:
        if self.objective.inputs:
            return self.objective.inputs(Batch(images, labels), generator(self.seed, "inputs", member, step))
        return Batch(images, labels, places if self.data.augment == "none" else None)


def _chosen(network: Network, source: Source, prepare: Prepare, meter: Meter) -> Way:
    """The engine's choice; what it tried is not counted."""
    spent = replace(meter)
    try:
        return network.engine.training(len(source.members), source.kind, prepare)
    finally:
        meter.__dict__.update(vars(spent))


# torch.optim's functional forms: its classes import the compiler when first used, for longer than a trial may take.
@torch.no_grad()
def _sgd_step(training: Training, flat: Flat, state: State, lr: float) -> None:
    momentum = _slot(state, "momentum", flat)
    sgd(
        [flat.weights],
        [flat.grads],
        [momentum if training.momentum else None],
        weight_decay=training.weight_decay,
        momentum=training.momentum,
        lr=lr,
        dampening=0,
        nesterov=training.momentum > 0,
        maximize=False,
        foreach=False,
    )


@torch.no_grad()
def _adamw_step(training: Training, flat: Flat, state: State, lr: float) -> None:
    adamw(
        [flat.weights],
        [flat.grads],
        [_slot(state, "momentum", flat)],
        [_slot(state, "square", flat)],
        [],
        [torch.tensor(float(state.step))],
        amsgrad=False,
        beta1=training.momentum,
        beta2=0.999,
        lr=lr,
        weight_decay=training.weight_decay,
        eps=1e-8,
        maximize=False,
        foreach=False,
    )


def _slot(state: State, name: str, flat: Flat) -> Tensor:
    """The optimizer's numbers as one matrix; the state holds views of it."""
    if name not in flat.slots:
        kept = state.slots.get(name)
        flat.slots[name] = torch.zeros_like(flat.weights) if kept is None else flat.matrix(kept)
        state.slots[name] = flat.views(flat.slots[name])
    return flat.slots[name]


_STEPS = {"sgd": _sgd_step, "adamw": _adamw_step}
