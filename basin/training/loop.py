"""The only training loop: one stack, one objective, from one step to another."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from basin import interrupt, stack
from basin.data import Data
from basin.data.batches import draw_batches, drawn_batches, steps_per_epoch
from basin.errors import UsageError
from basin.seeds import make_generator
from basin.spec import Bounds, Checked, Search, Unit
from basin.stack import Stack
from basin.training.capture import Work, capture_graph
from basin.training.cuda_graphs import GraphGradients
from basin.training.execution_mode import Way, out_of_memory
from basin.training.flat_parameters import Flat
from basin.training.gradients import EagerGradients, Gradients, GradientSum
from basin.training.network import Network
from basin.training.objective import Batch, Draw, Meter, Objective
from basin.training.pull import Pull

LearningRate = Callable[[int], float]
"""Step → learning rate."""


LARGEST = torch.finfo(torch.float32).max


class DivergedError(ArithmeticError):
    """Training loss, weights or scores are no longer finite."""


@dataclass(frozen=True, kw_only=True)
class Training(Checked):
    """The budget and the optimizer, the same for every member of every construction."""

    version: ClassVar[int] = 1

    epochs: Annotated[int, Bounds(1), Unit("epochs")] = 40
    """Passes of one member over its training images, its share of a trunk included."""
    batch_size: Annotated[int, Bounds(1), Unit("images")] = 50
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
    """Arithmetic of the training passes; evaluation is float32. In a study also auto: the faster one where it runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer == "adamw" and self.momentum == 1:
            raise UsageError("momentum=1: expected less than 1 for optimizer=adamw, whose mean gradient stays 0 at 1")
        for name in ("lr", "weight_decay"):
            if (value := getattr(self, name)) > LARGEST:
                raise UsageError(
                    f"{name}={value}: expected at most {LARGEST}, the largest number that weights can hold"
                )

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
    """Everything the next step depends on, apart from (seed, step), which determine data order and augmentation."""

    thetas: Stack
    slots: dict[str, Stack] = field(default_factory=dict)
    """Optimizer state: slot → weight name → tensor [K, …]."""
    step: int = 0
    loss: float = math.nan
    """Mean training loss of the members since the last yield, in nats."""
    seconds: float | None = None
    """Wall seconds that a stage has taken so far, over all launches; None if unknown."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "State":
        """The state with every tensor changed: moved to a device, copied, …"""
        slots = {slot: {name: change(t) for name, t in tensors.items()} for slot, tensors in self.slots.items()}
        thetas = {name: change(t) for name, t in self.thetas.items()}
        return State(thetas, slots, self.step, self.loss, self.seconds)

    def branch(self, count: int) -> "State":
        """`count` copies of a single network, optimizer state included."""
        slots = {
            slot: stack.repeat_network(stack.network_at(tensors, 0), count) for slot, tensors in self.slots.items()
        }
        return State(stack.repeat_network(stack.network_at(self.thetas, 0), count), slots, self.step)


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
    rate: LearningRate | None = None,
    stops: Collection[int] = (),
    since: int = 0,
) -> Iterator[State]:
    """Train the stack in `state` to step `until`; yield at each end of an epoch, at each of `stops`, and at the end.

    `members` are the identities of the K networks: they choose data order and augmentation. `rate` replaces the
    schedule of `training`. `since` is the step at which the networks branched, also where a state from later on is
    resumed: the objective's pull is spread over all steps from there to the end of the budget. The yielded state is
    live: copy it to keep it. Raises DivergedError if a loss or a weight is not finite, UsageError if a batch is too
    small for BatchNorm, and PreemptedError if a stop was requested; `state` is then at the last completed step.
    """
    flat = Flat(state.thetas, network.weights)
    state.thetas = flat.thetas
    total, epoch = training.steps(len(data.train)), steps_per_epoch(len(data.train), training.batch_size)
    losses: list[Tensor] = []
    rate = rate or (lambda step: training.lr_at(step, total))
    source = Source(data, objective, training.batch_size, seed, tuple(members))
    pull = Pull.over((rate(step) for step in range(since, total)), beta=objective.pull) if objective.pull else None

    def gradients(way: Way, flat: Flat, meter: Meter) -> Gradients:
        total = GradientSum(network, flat, objective, meter, way)
        return GraphGradients(total) if way.name == "graphs" else EagerGradients(total)

    def prepare(way: Way) -> Callable[[], Tensor]:
        trying = gradients(way, Flat(state.map(torch.clone).thetas, network.weights), Meter())
        return lambda: trying.step(*source.take(state.step))

    ours: Gradients | None = None
    while state.step < until:
        interrupt.check_request()
        try:
            if ours is None:
                ours = gradients(network.engine.training(len(source.members), source.kind, prepare), flat, meter)
            losses.append(ours.step(*source.take(state.step)).mean())
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error) from None
        except ValueError as error:
            raise _lone_value(error, training.batch_size) or error from None
        _STEPS[training.optimizer](training, flat, state, rate(state.step))
        if pull:
            pull.act(flat, rate(state.step))
        flat.grads.zero_()
        state.step += 1
        if state.step % epoch == 0 or state.step == until or state.step in stops:
            state.loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(state.loss):
                raise DivergedError(f"training loss is {state.loss} at step {state.step}")
            if not all(bool(tensor.isfinite().all()) for tensor in state.thetas.values()):
                raise DivergedError(f"weights are not finite after step {state.step}")
            interrupt.send_heartbeat()
            yield state


def _lone_value(error: ValueError, batch_size: int) -> UsageError | None:
    """Make the user's error from that of BatchNorm; None for any other error."""
    if "more than 1 value per channel" not in str(error):
        return None
    return UsageError(
        f"batch_size={batch_size}: BatchNorm gets one value a channel and cannot estimate a variance: "
        "set a larger batch_size, or use larger images or another model"
    )


@dataclass
class Source:
    """Batches and mixed networks of each step, a function of the step alone."""

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
        """Properties that the cost of a step depends on, apart from the number of networks."""
        return self.objective.beta > 0, type(self.objective.loss).__name__

    def take(self, step: int) -> tuple[list[Batch], Draw | None]:
        """The members' batches, and the mixed networks; on a GPU valid until the next call."""
        drawn = draw_batches(self.data, seed=self.seed, members=self.members, step=step, batch_size=self.batch_size)
        made = zip(self.members, *self._make_batches(drawn), strict=True)
        batches = [self._training_batch(member, step, *tensors) for member, *tensors in made]
        sampler = self.objective.sampler if self.objective.beta else None
        return batches, sampler(make_generator(self.seed, "constraint", step), len(batches)) if sampler else None

    def _make_batches(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and places in the training split of each member's batch."""
        if self._record is None:
            self._drawn = drawn.to(self.data.mean.device)
            self._record = capture_graph(self._gather_batches, self.data.mean.device)
        self._drawn.copy_(drawn, non_blocking=True)
        self._record()
        return self._batches

    def _gather_batches(self) -> None:
        every = (*drawn_batches(self.data, self._drawn), self._drawn[0])
        images, labels, places = (tensor.unflatten(0, (len(self.members), -1)) for tensor in every)
        self._batches = images, labels, places

    def _training_batch(self, member: int, step: int, images: Tensor, labels: Tensor, places: Tensor) -> Batch:
        if self.objective.inputs:
            return self.objective.inputs(Batch(images, labels), make_generator(self.seed, "inputs", member, step))
        return Batch(images, labels, places if self.data.augment == "none" else None)


# torch.optim's functional forms: its classes import the compiler when first used, for longer than a trial may take.
@torch.no_grad()
def _sgd_step(training: Training, flat: Flat, state: State, lr: float) -> None:
    momentum = _optimizer_slot(state, "momentum", flat)
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
        [_optimizer_slot(state, "momentum", flat)],
        [_optimizer_slot(state, "square", flat)],
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


def _optimizer_slot(state: State, name: str, flat: Flat) -> Tensor:
    """Optimizer state as one matrix [K, P]; the training state holds views of it."""
    if name not in flat.slots:
        kept = state.slots.get(name)
        flat.slots[name] = torch.zeros_like(flat.weights) if kept is None else flat.matrix(kept)
        state.slots[name] = flat.views(flat.slots[name])
    return flat.slots[name]


_STEPS = {"sgd": _sgd_step, "adamw": _adamw_step}
