"""A training step recorded once as CUDA graphs and replayed.

On a GPU a small network's step costs the launches of its kernels more than their work. A recorded step is launched at
once, and its networks run beside each other on streams of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.flat import Flat
from basin.gradients import Gradients
from basin.network import Network, Precision
from basin.objective import Batch, Draw
from basin.recording import Packed, Streams, Work, recorded
from basin.stack import Stack


@dataclass
class GraphGradients(Gradients):
    """Gradients by replay: a step's images, labels and mixed weights are copied to where the recording reads them."""

    _steps: dict[int, "_Step"] = field(default_factory=dict)

    def step(self, batches: Sequence[Batch], draw: Draw | None = None) -> Float[Tensor, " K"]:
        """Likewise, the networks side by side as far as the way is wide."""
        mixed = len(draw.source) if draw else 0
        if mixed not in self._steps:
            self._steps[mixed] = _Step(self, batches, draw)
        return self._steps[mixed].run(batches, draw)


class _Step:
    """The step of K members and as many mixed networks as the draw has."""

    def __init__(self, owner: Gradients, batches: Sequence[Batch], draw: Draw | None) -> None:
        self._owner, self._flat, self._objective = owner, owner.flat, owner.objective
        self._units = stack.unit_rows(len(batches))
        self._own = [_copy(batch) for batch in batches]
        self._seen = [_copy(batches[origin]) for origin in draw.source] if draw else []
        members = [self._flat.member(k) for k in range(len(batches))]
        self._packed = [Packed(owner.network, self._flat, members, self._flat.weights, self._flat.grads)]
        if draw:
            mixed = self._flat.mixed(draw.weights)
            self._packed.append(Packed(owner.network, self._flat, mixed.alone, mixed.weights, mixed.grads))
        self._streams = Streams(owner.network.device, min(owner.way.width, len(self._own) + len(self._seen)))
        self._losses = torch.zeros(0)
        self._forwards = 0
        self._ask = self._prepared_targets() if self._objective.target else None
        changed = [self._flat.grads, *self._flat.buffers.values()]
        self._differentiate = recorded(self._gradients, owner.network.device, changed)

    def run(self, batches: Sequence[Batch], draw: Draw | None) -> Tensor:
        _overwrite(self._own, batches)
        if self._ask:
            before = self._owner.meter.teacher_forwards
            self._ask()
            self._owner.meter.teacher_forwards = before + self._forwards
        if draw:
            mixed = self._flat.mixed(draw.weights)
            self._hand_over(draw)
        self._differentiate()
        self._owner.meter.passes += len(self._own) + len(self._seen)
        if draw:
            self._flat.take(draw.weights, mixed, self._objective.beta * len(self._own) / len(self._seen))
        return self._losses.clone()

    def _hand_over(self, draw: Draw) -> None:
        """Give the mixed networks their batches, and what they are held against: it changes with the rows."""
        sources = {k: replace(self._own[k], target=None) for k in draw.source}
        for batch in sources.values():
            batch.teacher_logits = dict(batch.teacher_logits)
        for seen, origin, row in zip(self._seen, draw.source, draw.weights, strict=True):
            seen.images.copy_(sources[origin].images)
            seen.labels.copy_(sources[origin].labels)
            if self._objective.target and seen.target is not None:
                seen.target.copy_(self._objective.target(sources[origin], row))

    def _prepared_targets(self) -> Work:
        meter = self._owner.meter
        before = meter.teacher_forwards
        self._targets()
        self._forwards = meter.teacher_forwards - before
        for seen in self._seen:
            seen.target = self._own[0].target.clone()  # type: ignore[union-attr]
        ask = recorded(self._targets, self._owner.network.device, [])
        meter.teacher_forwards = before
        return ask

    @torch.no_grad()
    def _targets(self) -> None:
        def one(batch: Batch, row: Tensor) -> Tensor:
            batch.target, batch.teacher_logits = None, {}
            return self._objective.target(batch, row)  # type: ignore[misc]

        found = self._streams.run(partial(one, *job) for job in zip(self._own, self._units, strict=True))
        for batch, target in zip(self._own, found, strict=True):
            batch.target = target

    def _gradients(self) -> None:
        # A mixed network's row changes from step to step; its loss takes the target, or no row at all.
        batches, rows = [self._own, self._seen], [self._units, self._units[:1].expand(len(self._seen), -1)]
        jobs: list[Callable[[], Tensor]] = []
        for packed, some, places in zip(self._packed, batches, rows, strict=False):
            packed.pack()
            jobs += [partial(self._one, packed, k, *job) for k, job in enumerate(zip(some, places, strict=True))]
        losses = self._streams.run(jobs)
        for packed in self._packed:
            packed.unpack()
        self._owner.penalise(len(self._own))
        self._losses = torch.stack(losses[: len(self._own)])

    def _one(self, packed: "Packed", k: int, batch: Batch, row: Tensor) -> Tensor:
        logits = self._owner.network(packed.networks[k], batch.images, train=True)
        loss = self._objective.loss(logits, batch, row)
        packed.accumulate(k, loss)
        return loss.detach()


def _copy(batch: Batch) -> Batch:
    places = None if batch.positions is None else batch.positions.clone()
    return Batch(batch.images.clone(), batch.labels.clone(), places)


def _overwrite(kept: Sequence[Batch], batches: Sequence[Batch]) -> None:
    pairs = [(old.images, new.images) for old, new in zip(kept, batches, strict=True)]
    pairs += [(old.labels, new.labels) for old, new in zip(kept, batches, strict=True)]
    for old, new in zip(kept, batches, strict=True):
        if old.positions is not None and new.positions is not None:
            pairs.append((old.positions, new.positions))
    for there, value in pairs:
        there.copy_(value)


class Forward:
    """Forward passes of some networks on images of one shape."""

    def __init__(self, network: Network, thetas: Stack, images: Tensor, train: bool, precision: Precision) -> None:
        self._network, self._train, self._precision = network, train, precision
        self._flat = Flat({name: tensor.clone() for name, tensor in thetas.items()}, network.weights)
        members = [self._flat.member(k) for k in range(stack.size(thetas))]
        self._packed = Packed(network, self._flat, members, self._flat.weights, self._flat.grads, precision)
        self._streams = Streams(network.device, len(members))
        self._images, self._logits = images.clone(), torch.zeros(0)
        held = self._flat.views(self._flat.weights) | self._flat.buffers
        self._held = {name: tensor for name, tensor in held.items() if tensor.is_floating_point()}
        self._packed.pack()
        self._run = recorded(self._forward, network.device)

    @torch.no_grad()
    def load(self, thetas: Stack) -> None:
        """From now on it is these networks'."""
        torch._foreach_copy_(list(self._held.values()), [thetas[name] for name in self._held])
        self._packed.pack()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Float[Tensor, "K batch classes"]:
        """What they say; in training mode with the statistics of the batch, which `statistics` then has."""
        self._images.copy_(images)
        self._run()
        return self._logits.clone()

    def statistics(self, name: str) -> Tensor:
        """A BatchNorm's buffer: of the networks that were loaded or, in training mode, of the last batch."""
        return self._flat.buffers[name]

    @torch.no_grad()
    def _forward(self) -> None:
        how = {"train": self._train, "precision": self._precision, "momentum": 1.0 if self._train else None}
        jobs = [partial(self._network, params, self._images, **how) for params in self._packed.networks]  # type: ignore[arg-type]
        self._logits = torch.stack(self._streams.run(jobs))


def asking(network: Network, thetas: Stack, *, train: bool, precision: Precision) -> Callable[[Tensor], Forward]:
    """Images → the recording for so many networks and images of that shape, with these networks loaded, once each.

    Valid until other networks are asked with the same recordings.
    """
    loaded: set[object] = set()

    def ask(images: Tensor) -> Forward:
        key = (stack.size(thetas), images.shape, images.dtype, train, precision)
        if key not in network.recordings:
            network.recordings[key] = Forward(network, thetas, images, train, precision)
        found: Forward = network.recordings[key]
        if key not in loaded:
            found.load(thetas)
            loaded.add(key)
        return found

    return ask
