"""The gradient of K·L: what one training step asks of the networks of a stack, in each of the engine's ways."""

from collections.abc import Sequence
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
class Gradients:
    """Accumulates the gradients of step after step in `flat.grads`."""

    network: Network
    flat: Flat
    objective: Objective
    meter: Meter
    way: Way

    def step(self, batches: Sequence[Batch], draw: Draw | None = None) -> Float[Tensor, " K"]:
        """Accumulate the gradient on the members' own batches and on those that mixed networks see.

        Returns the members' losses in nats. One part's graph is alive at a time.
        """
        together = self.way.name == "stacked"
        units = stack.unit_rows(len(batches))
        if together:
            losses = self._members_together(batches, units)
        else:
            losses = self.way.map(lambda k: self._alone(self.flat.member(k), batches[k], units[k]), range(len(batches)))
        self.meter.passes += len(batches)
        if draw:
            self._mixed(draw, batches, together)
        self.penalise(len(batches))
        return torch.stack(losses)

    def penalise(self, count: int) -> None:
        """Accumulate the gradient of the penalties of the `count` members."""
        for strength, penalty in self.objective.penalties:
            if strength:
                every = self.flat.members(slice(0, count))
                every.backward(strength * count * penalty(every.weights))

    def _members_together(self, batches: Sequence[Batch], units: Tensor) -> list[Tensor]:
        losses: list[Tensor] = []
        for chosen in self.way.parts(len(batches)):
            own = batches[chosen]
            if self.objective.prepare:
                self.objective.prepare(own, chosen)
            losses += self._together(self.flat.members(chosen), own, units[chosen])
        return losses

    def _mixed(self, draw: Draw, batches: Sequence[Batch], together: bool) -> None:
        mixed = self.flat.mixed(draw.weights)
        own = [batches[origin] for origin in draw.source]
        if together:
            self._together(mixed.together, own, draw.weights)
        else:
            for params, batch, row in zip(mixed.alone, own, draw.weights, strict=True):
                self._alone(params, batch, row)
        self.meter.passes += len(own)
        self.flat.take(draw.weights, mixed, self.objective.beta * len(batches) / len(own))

    def _alone(self, params: Params, batch: Batch, row: Tensor) -> Tensor:
        loss = self.objective.loss(self.network(params, batch.images, train=True), batch, row)
        backward(loss)
        return loss.detach()

    def _together(self, leaves: Leaves, batches: Sequence[Batch], rows: Tensor) -> list[Tensor]:
        images = [batch.images for batch in batches]
        logits = self.network.each(leaves.thetas, images, train=True, together=True)
        losses = [self.objective.loss(x, batch, row) for x, batch, row in zip(logits, batches, rows, strict=True)]
        leaves.backward(torch.stack(losses).sum())
        return [loss.detach() for loss in losses]
