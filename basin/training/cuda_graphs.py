"""Training steps and forward passes captured as CUDA graphs and replayed.

On a GPU, launching the kernels of a small network costs more than running them. A captured step is one launch, and its
networks run concurrently on separate streams.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.stack import Stack
from basin.training.capture import Packed, Streams, Work, capture_graph
from basin.training.flat_parameters import Flat
from basin.training.gradients import GradientSum
from basin.training.network import Network, Precision
from basin.training.objective import Answers, Batch, Draw, Target


class GraphGradients:
    """Gradients by replay: a step's images, labels and mixed weights are copied to where the captured step reads."""

    def __init__(self, total: GradientSum) -> None:
        self._total = total
        self._steps: dict[int, _CapturedStep] = {}

    def step(self, batches: Sequence[Batch], draw: Draw | None = None) -> Float[Tensor, " K"]:
        """See `Gradients.step`. Up to `way.width` networks run concurrently."""
        mixed = len(draw.source) if draw else 0
        if mixed not in self._steps:
            self._steps[mixed] = _CapturedStep(self._total, batches, draw)
        return self._steps[mixed].run(batches, draw)


class _CapturedStep:
    """The step of K members and as many mixed networks as the draw has."""

    def __init__(self, total: GradientSum, batches: Sequence[Batch], draw: Draw | None) -> None:
        self._total, self._flat, self._objective = total, total.flat, total.objective
        self._units = stack.unit_rows(len(batches))
        self._members = [_copy_batch(batch) for batch in batches]
        self._member_answers = [Answers() for _ in batches]
        self._mixed = [_copy_batch(batches[origin]) for origin in draw.source] if draw else []
        self._mixed_answers = [Answers() for _ in self._mixed]
        members = [self._flat.member(k) for k in range(len(batches))]
        self._packed = [Packed(total.network, self._flat, members, self._flat.weights, self._flat.grads)]
        if draw:
            mixed = self._flat.mixed(draw.weights)
            self._packed.append(Packed(total.network, self._flat, mixed.alone, mixed.weights, mixed.grads))
        self._streams = Streams(total.network.device, min(total.way.width, len(self._members) + len(self._mixed)))
        self._losses = torch.zeros(0)
        self._ask = self._capture_targets(self._objective.target) if self._objective.target else None
        changed = [self._flat.grads, *self._flat.buffers.values()]
        self._differentiate = capture_graph(self._compute_gradients, total.network.device, changed)

    def run(self, batches: Sequence[Batch], draw: Draw | None) -> Tensor:
        _overwrite_batches(self._members, batches)
        if self._ask:
            self._ask()
            self._total.meter.teacher_forwards += _count_forwards(self._member_answers)
        if draw:
            mixed = self._flat.mixed(draw.weights)
            self._hand_over(draw)
        self._differentiate()
        self._total.meter.passes += len(self._members) + len(self._mixed)
        if draw:
            self._total.add_mixed(draw, mixed)
        return self._losses.clone()

    def _hand_over(self, draw: Draw) -> None:
        """Copy the mixed networks' batches and their soft targets, which depend on the draw's rows."""
        target = self._objective.target
        answers = {k: Answers(dict(self._member_answers[k].teacher_logits)) for k in draw.source}
        known = _count_forwards(answers.values())
        for seen, kept, origin, row in zip(self._mixed, self._mixed_answers, draw.source, draw.weights, strict=True):
            batch = self._members[origin]
            seen.images.copy_(batch.images)
            seen.labels.copy_(batch.labels)
            if target and kept.target is not None:
                kept.target.copy_(target(batch, row, answers[origin]))
        self._total.meter.teacher_forwards += _count_forwards(answers.values()) - known

    def _capture_targets(self, target: Target) -> Work:
        """Capture the soft targets of the members' batches; each capture leaves them in `_member_answers`."""
        work = partial(self._compute_targets, target)
        work()
        first = self._member_answers[0].target
        assert first is not None, "work() computes it"
        for kept in self._mixed_answers:
            kept.target = first.clone()
        return capture_graph(work, self._total.network.device)

    @torch.no_grad()
    def _compute_targets(self, target: Target) -> None:
        # A replay runs no Python: the answers stay those of the capture, whose tensors it fills anew.
        self._member_answers = [Answers() for _ in self._members]
        jobs = zip(self._members, self._units, self._member_answers, strict=True)
        targets = self._streams.run(partial(target, *job) for job in jobs)
        for known, soft in zip(self._member_answers, targets, strict=True):
            known.target = soft

    def _compute_gradients(self) -> None:
        jobs = self._network_jobs(self._packed[0], self._members, self._units, self._member_answers)
        if self._mixed:
            # A mixed network's row changes from step to step; its loss takes the target, or no row at all.
            rows = self._units[:1].expand(len(self._mixed), -1)
            jobs += self._network_jobs(self._packed[1], self._mixed, rows, self._mixed_answers)
        losses = self._streams.run(jobs)
        for packed in self._packed:
            packed.unpack()
        if self._mixed:
            self._total.divide_members()  # the penalties after it; `add_mixed` divides the mixed networks' gradients
        self._total.add_penalties(len(self._members))
        self._losses = torch.stack(losses[: len(self._members)])

    def _network_jobs(
        self, packed: Packed, batches: Sequence[Batch], rows: Tensor, answers: Sequence[Answers]
    ) -> list[Callable[[], Tensor]]:
        packed.pack()
        networks = enumerate(zip(batches, rows, answers, strict=True))
        return [partial(self._network_loss, packed, k, *network) for k, network in networks]

    def _network_loss(self, packed: Packed, k: int, batch: Batch, row: Tensor, answers: Answers) -> Tensor:
        logits = self._total.network(packed.networks[k], batch.images, train=True)
        loss = self._objective.loss(logits, batch, row, answers)
        packed.accumulate(k, loss)
        return loss.detach()


def _count_forwards(answers: Iterable[Answers]) -> int:
    return sum(len(known.teacher_logits) for known in answers)


def _copy_batch(batch: Batch) -> Batch:
    places = None if batch.positions is None else batch.positions.clone()
    return Batch(batch.images.clone(), batch.labels.clone(), places)


def _overwrite_batches(kept: Sequence[Batch], batches: Sequence[Batch]) -> None:
    for old, new in zip(kept, batches, strict=True):
        old.images.copy_(new.images)
        old.labels.copy_(new.labels)
        if old.positions is not None and new.positions is not None:
            old.positions.copy_(new.positions)


class Forward:
    """Captured forward passes of several networks on images of one shape."""

    def __init__(self, network: Network, thetas: Stack, images: Tensor, train: bool, precision: Precision) -> None:
        self._network, self._train, self._precision = network, train, precision
        self._flat = Flat({name: tensor.clone() for name, tensor in thetas.items()}, network.weights)
        members = [self._flat.member(k) for k in range(stack.count_networks(thetas))]
        self._packed = Packed(network, self._flat, members, self._flat.weights, self._flat.grads, precision)
        self._streams = Streams(network.device, len(members))
        self._images, self._logits = images.clone(), torch.zeros(0)
        held = self._flat.views(self._flat.weights) | self._flat.buffers
        self._held = {name: tensor for name, tensor in held.items() if tensor.is_floating_point()}
        self._packed.pack()
        self._run = capture_graph(self._compute_logits, network.device)

    @torch.no_grad()
    def load(self, thetas: Stack) -> None:
        """Load other networks of the same shapes."""
        torch._foreach_copy_(list(self._held.values()), [thetas[name] for name in self._held])
        self._packed.pack()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Float[Tensor, "K batch classes"]:
        """Logits on a batch; in training mode BatchNorm uses the batch's statistics, which `statistics` returns."""
        self._images.copy_(images)
        self._run()
        return self._logits.clone()

    def statistics(self, name: str) -> Tensor:
        """A BatchNorm buffer of the loaded networks or, in training mode, of the last batch."""
        return self._flat.buffers[name]

    @torch.no_grad()
    def _compute_logits(self) -> None:
        how = {"train": self._train, "precision": self._precision, "momentum": 1.0 if self._train else None}
        jobs = [partial(self._network, params, self._images, **how) for params in self._packed.networks]  # type: ignore[arg-type]
        self._logits = torch.stack(self._streams.run(jobs))


def captured_forwards(
    network: Network, thetas: Stack, *, train: bool, precision: Precision
) -> Callable[[Tensor], Forward]:
    """Return a function from images to the captured passes for their shape, with these networks loaded.

    The passes are valid until other networks are loaded into the same capture.
    """
    loaded: set[object] = set()

    def ask(images: Tensor) -> Forward:
        key = (stack.count_networks(thetas), images.shape, images.dtype, train, precision)
        if key not in network.recordings:
            network.recordings[key] = Forward(network, thetas, images, train, precision)
        forward: Forward = network.recordings[key]
        if key not in loaded:
            forward.load(thetas)
            loaded.add(key)
        return forward

    return ask
