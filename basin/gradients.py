"""The gradient of K·L: what one training step asks of the networks of a stack, in each of the engine's ways."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import backward

from basin import stack
from basin.engine import Way
from basin.flat import Flat, Leaves
from basin.network import Network
from basin.objective import Batch, Draw, Meter, Objective
from basin.stack import Params


@dataclass
class Step:
    """One step's gradient, accumulated in `flat.grads`."""

    network: Network
    flat: Flat
    objective: Objective
    batches: list[Batch]
    """The members' own."""
    draw: Draw | None
    """Mixed networks that count; each sees the batch of a member."""
    meter: Meter
    way: Way

    def backward(self) -> Float[Tensor, " K"]:
        """Accumulate the gradient; returns the members' losses in nats. One part's graph is alive at a time."""
        count = len(self.batches)
        together = self.way.name == "stacked"
        losses = self._members_together() if together else self.way.map(self._member, range(count))
        self.meter.passes += count
        if self.draw:
            self._mixed(self.draw, together)
        for strength, penalty in self.objective.penalties:
            if strength:
                every = self.flat.members(slice(0, count))
                every.backward(strength * count * penalty(every.weights))
        return torch.stack(losses)

    def _member(self, k: int) -> Tensor:
        return self._alone(self.flat.member(k), self.batches[k], stack.unit_rows(len(self.batches))[k])

    def _members_together(self) -> list[Tensor]:
        units = stack.unit_rows(len(self.batches))
        losses: list[Tensor] = []
        for chosen in self.way.parts(len(self.batches)):
            own = self.batches[chosen]
            if self.objective.prepare:
                self.objective.prepare(own, chosen)
            losses += self._together(self.flat.members(chosen), own, units[chosen])
        return losses

    def _mixed(self, draw: Draw, together: bool) -> None:
        mixed = self.flat.mixed(draw.weights)
        own = [self.batches[origin] for origin in draw.source]
        if together:
            self._together(mixed.together, own, draw.weights)
        else:
            for params, batch, row in zip(mixed.alone, own, draw.weights, strict=True):
                self._alone(params, batch, row)
        self.meter.passes += len(own)
        self.flat.take(draw.weights, mixed, self.objective.beta * len(self.batches) / len(own))

    def _alone(self, params: Params, batch: Batch, row: Tensor) -> Tensor:
        loss = self.objective.loss(self.network(params, batch.images, train=True), batch, row)
        backward(loss)
        return loss.detach()

    def _together(self, leaves: Leaves, batches: list[Batch], rows: Tensor) -> list[Tensor]:
        images = [batch.images for batch in batches]
        logits = self.network.each(leaves.thetas, images, train=True, together=True)
        losses = [self.objective.loss(x, batch, row) for x, batch, row in zip(logits, batches, rows, strict=True)]
        leaves.backward(torch.stack(losses).sum())
        return [loss.detach() for loss in losses]
