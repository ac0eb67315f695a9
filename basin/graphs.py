"""A training step recorded once as CUDA graphs and replayed.

On a GPU a small network's step costs the launches of its kernels more than their work. A recorded step is launched at
once, and its networks run beside each other on streams of their own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from basin import stack
from basin.flat import Flat
from basin.gradients import Gradients
from basin.network import Network
from basin.objective import Batch, Draw
from basin.stack import Params

WARM = 3
"""Runs before a recording, in which libraries choose their kernels."""
Work = Callable[[], None]
"""Operations on tensors that stay where they are."""


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
        self._packed = [_Packed(owner.network, self._flat, members, self._flat.weights, self._flat.grads)]
        if draw:
            mixed = self._flat.mixed(draw.weights)
            self._packed.append(_Packed(owner.network, self._flat, mixed.alone, mixed.weights, mixed.grads))
        self._streams = _streams(owner.network.device, min(owner.way.width, len(self._own) + len(self._seen)))
        self._losses = torch.zeros(0)
        self._forwards = 0
        self._ask = self._prepared_targets() if self._objective.target else None
        changed = [self._flat.grads, *self._flat.buffers.values()]
        self._differentiate = _recorded(self._gradients, owner.network.device, changed)

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
        ask = _recorded(self._targets, self._owner.network.device, [])
        meter.teacher_forwards = before
        return ask

    @torch.no_grad()
    def _targets(self) -> None:
        def one(batch: Batch, row: Tensor) -> Tensor:
            batch.target, batch.teacher_logits = None, {}
            return self._objective.target(batch, row)  # type: ignore[misc]

        found = self._side_by_side(partial(one, *job) for job in zip(self._own, self._units, strict=True))
        for batch, target in zip(self._own, found, strict=True):
            batch.target = target

    def _gradients(self) -> None:
        # A mixed network's row changes from step to step; its loss takes the target, or no row at all.
        batches, rows = [self._own, self._seen], [self._units, self._units[:1].expand(len(self._seen), -1)]
        jobs: list[Callable[[], Tensor]] = []
        for packed, some, places in zip(self._packed, batches, rows, strict=False):
            packed.pack()
            jobs += [partial(self._one, packed, k, *job) for k, job in enumerate(zip(some, places, strict=True))]
        losses = self._side_by_side(jobs)
        for packed in self._packed:
            packed.unpack()
        self._owner.penalise(len(self._own))
        self._losses = torch.stack(losses[: len(self._own)])

    def _one(self, packed: "_Packed", k: int, batch: Batch, row: Tensor) -> Tensor:
        logits = self._owner.network(packed.networks[k], batch.images, train=True)
        loss = self._objective.loss(logits, batch, row)
        packed.accumulate(k, loss)
        return loss.detach()

    def _side_by_side(self, jobs: Iterable[Callable[[], Tensor]]) -> list[Tensor]:
        every, device = list(jobs), self._owner.network.device
        if device.type != "cuda":
            return [job() for job in every]
        found = []
        for chosen in self._owner.way.parts(len(every)):
            main, some = torch.cuda.current_stream(device), every[chosen]
            for stream, job in zip(self._streams, some, strict=False):
                stream.wait_stream(main)
                with torch.cuda.stream(stream):
                    found.append(job())
            for stream in self._streams[: len(some)]:
                main.wait_stream(stream)
        return found


class _Packed:
    """Networks of which the convolutions' weights are packed anew at each step, all of them at once.

    They come in the arithmetic and the layout of the passes, which takes two kernels for each tensor otherwise, and as
    many for its gradient. The numbers are the same.
    """

    def __init__(self, network: Network, flat: Flat, networks: list[Params], weights: Tensor, grads: Tensor) -> None:
        own = {f"{name}.weight" for name, module in network.module.named_modules() if isinstance(module, nn.Conv2d)}
        places = [(name, shape, torch.arange(at, end)) for name, shape, at, end in flat.places if name in own]
        orders = [place.view(shape).permute(0, 2, 3, 1).flatten() for _, shape, place in places]
        self._order = torch.cat([*orders, torch.arange(0)]).to(weights.device)
        self._weights, self._grads = weights, grads
        dtype = torch.bfloat16 if network.precision == "bfloat16" else weights.dtype
        self._values = weights.new_zeros(len(weights), len(self._order), dtype=dtype)
        self._slopes = torch.zeros_like(self._values)
        self._convolutions = [name for name, *_ in places]
        self._others = [name for name in flat.names if name not in own]
        self.networks = [params | self._leaves(row, places) for params, row in zip(networks, self._values, strict=True)]
        """Each of them as autograd leaves and buffers."""

    @torch.no_grad()
    def pack(self) -> None:
        """Bring the convolutions' weights up to date."""
        self._values.copy_(self._weights.index_select(1, self._order))

    def accumulate(self, k: int, loss: Tensor) -> None:
        """Add the gradient of network k's loss to its row, that of convolutions when they are unpacked."""
        params = self.networks[k]
        found = torch.autograd.grad(loss, [params[name] for name in (*self._convolutions, *self._others)])
        packed, others = found[: len(self._convolutions)], found[len(self._convolutions) :]
        if packed:
            torch.cat([slope.permute(0, 2, 3, 1).flatten() for slope in packed], out=self._slopes[k])
        grads = [params[name].grad for name in self._others]
        torch._foreach_add_(grads, list(others))  # type: ignore[arg-type]

    @torch.no_grad()
    def unpack(self) -> None:
        """Add the convolutions' gradients where the others are."""
        self._grads.index_add_(1, self._order, self._slopes.to(self._grads.dtype))

    @staticmethod
    def _leaves(row: Tensor, places: Sequence[tuple[str, torch.Size, Tensor]]) -> Params:
        parts = row.split([len(place) for *_, place in places])
        shaped = {
            name: part.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
            for (name, shape, _), part in zip(places, parts, strict=True)
        }
        return {name: part.detach().requires_grad_() for name, part in shaped.items()}


def _streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream(device) for _ in range(count)] if device.type == "cuda" else []


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


def _recorded(work: Work, device: torch.device, changed: Sequence[Tensor]) -> Work:
    """The work as one launch, nothing done yet: what it changes is put back. A CPU has nothing to record."""
    if device.type != "cuda":
        return work
    kept = [tensor.clone() for tensor in changed]
    main, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(main)
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            work()
    main.wait_stream(aside)
    for tensor, value in zip(changed, kept, strict=True):
        tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
