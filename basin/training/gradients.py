"""The gradient of K·L: what one training step computes for the networks of a stack, in each execution mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import backward

from basin import stack
from basin.stack import Params
from basin.training.execution_mode import Way
from basin.training.flat_parameters import Flat, Leaves, Mixed
from basin.training.network import Network
from basin.training.objective import Answers, Batch, Draw, Meter, Objective


class Gradients(Protocol):
    """One way to compute the gradient of a training step."""

    def step(self, batches: Sequence[Batch], draw: Draw | None = None) -> Float[Tensor, " K"]:
        """Add the gradient of K·L to the flat gradients, which must be zero before, and count what it takes.

        `batches` are the members', and `draw` says which of them the mixed networks see. Returns the members' losses in
        nats.
        """


@dataclass
class GradientSum:
    """The gradient of K·L in `flat.grads`, summed from its parts."""

    network: Network
    flat: Flat
    objective: Objective
    meter: Meter
    way: Way

    def __post_init__(self) -> None:
        # On the device from the start: a captured step must not copy from the host.
        self._divisors = self.objective.divisors(len(self.flat.weights)).to(self.flat.weights)[:, None]

    def divide_members(self) -> None:
        """Divide each member's gradient by 1 + β E[c_k]."""
        self.flat.grads.div_(self._divisors)

    def add_mixed(self, draw: Draw, mixed: Mixed) -> None:
        """Add the mixed networks' gradients to the members', divided as the members' own are."""
        count = draw.weights.shape[1]
        coefficients = draw.shares[:, None] * draw.weights / self.objective.divisors(count)
        self.flat.take(coefficients, mixed, self.objective.beta * count)

    def add_penalties(self, count: int) -> None:
        """Add the gradient of the penalties of the `count` members."""
        for strength, penalty in self.objective.penalties:
            if strength:
                every = self.flat.members(slice(0, count))
                every.backward(strength * count * penalty(every.weights))


class EagerGradients:
    """Gradients by autograd: one network after another, on threads, or together in one call."""

    def __init__(self, total: GradientSum) -> None:
        self._total, self._flat, self._objective, self._way = total, total.flat, total.objective, total.way

    def step(self, batches: Sequence[Batch], draw: Draw | None = None) -> Float[Tensor, " K"]:
        """See `Gradients.step`. The autograd graph of one part is alive at a time."""
        together = self._way.name == "stacked"
        units = stack.unit_rows(len(batches))
        answers = [Answers() for _ in batches]
        if together:
            losses = self._members_together(batches, units, answers)
        else:
            losses = self._way.map(
                lambda k: self._network_loss(self._flat.member(k), batches[k], units[k], answers[k]),
                range(len(batches)),
            )
        self._total.meter.passes += len(batches)
        if draw:
            self._total.divide_members()
            self._add_mixed_networks(draw, batches, answers, together)
        self._total.add_penalties(len(batches))
        self._total.meter.teacher_forwards += sum(len(known.teacher_logits) for known in answers)
        return torch.stack(losses)

    def _members_together(self, batches: Sequence[Batch], units: Tensor, answers: Sequence[Answers]) -> list[Tensor]:
        losses: list[Tensor] = []
        for chosen in self._way.parts(len(batches)):
            if self._objective.prepare:
                self._objective.prepare(batches[chosen], answers[chosen], chosen)
            leaves = self._flat.members(chosen)
            losses += self._joint_losses(leaves, batches[chosen], units[chosen], answers[chosen])
        return losses

    def _add_mixed_networks(
        self, draw: Draw, batches: Sequence[Batch], answers: Sequence[Answers], together: bool
    ) -> None:
        mixed = self._flat.mixed(draw.weights)
        seen, known = [batches[origin] for origin in draw.source], [answers[origin] for origin in draw.source]
        if together:
            self._joint_losses(mixed.together, seen, draw.weights, known)
        else:
            for network in zip(mixed.alone, seen, draw.weights, known, strict=True):
                self._network_loss(*network)
        self._total.meter.passes += len(seen)
        self._total.add_mixed(draw, mixed)

    def _network_loss(self, params: Params, batch: Batch, row: Tensor, answers: Answers) -> Tensor:
        logits = self._total.network(params, batch.images, train=True)
        loss = self._objective.loss(logits, batch, row, answers)
        backward(loss)
        return loss.detach()

    def _joint_losses(
        self, leaves: Leaves, batches: Sequence[Batch], rows: Tensor, answers: Sequence[Answers]
    ) -> list[Tensor]:
        images = [batch.images for batch in batches]
        logits = self._total.network.compute_logits(leaves.thetas, images, train=True, together=True)
        losses = [self._objective.loss(*network) for network in zip(logits, batches, rows, answers, strict=True)]
        leaves.backward(torch.stack(losses).sum())
        return [loss.detach() for loss in losses]
