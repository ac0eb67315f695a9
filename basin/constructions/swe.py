"""Stochastic weight ensembling: snapshots of one network trained on at a high learning rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from basin import stack
from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble, chain_pairs
from basin.errors import UsageError
from basin.spec import Bounds, Checked, Search, Unit
from basin.stack import Stack
from basin.task import Task
from basin.training.loop import LearningRate, State, Training


@constructions.register("swe")
@dataclass(frozen=True, kw_only=True)
class SWE(Checked):
    """K snapshots of one run, each with its own BatchNorm buffers.

    `constant`: peak rate to half of `start`, linear to `swe_lr` at `start`, then constant (SWA, Izmailov 2018, section
    3.2). `cyclical`: from `start` on triangular cycles of `spacing` steps between `swe_lr` and a tenth of it, a
    snapshot at each lowest rate (FGE, Garipov 2018, section 4).
    """

    version: ClassVar[int] = 1

    members: Annotated[int, Bounds(1), Unit("networks")] = 4
    """Snapshots kept, K."""
    start: Annotated[float, Bounds(0, 1), Search(0.3, 0.9)] = 0.5
    """Fraction of the budget after which snapshots are taken."""
    spacing: Annotated[int | None, Bounds(1), Unit("steps")] = None
    """Steps between snapshots; none spreads them over what `start` leaves of the budget."""
    rates: Literal["constant", "cyclical"] = "constant"
    """Learning rate while snapshots are taken."""
    swe_lr: Annotated[float, Bounds(0), Search(0.005, 0.2, log=True)] = 0.05
    """Learning rate, or its peak, while snapshots are taken."""
    anneal: Annotated[int, Bounds(0), Unit("steps")] = 0
    """Steps of linear decay to 0 that each snapshot gets, on a copy, before it is kept."""

    def needs(self, steps: int) -> dict[int, int]:
        """No stages: its learning rate differs from a stage's from the first step."""
        return {}

    def spends(self, steps: int) -> Spends:
        """One network up to the last snapshot, and what anneals the snapshots."""
        return Spends(self.snapshots(steps)[-1] + self.members * self.anneal)

    def snapshots(self, steps: int) -> list[int]:
        """The steps at which snapshots are taken; raises UsageError if the budget has no room for them."""
        first = round(self.start * steps)
        spacing = self.spacing or (steps - first) // self.members
        if spacing < 1 or first + self.members * spacing > steps:
            raise UsageError(
                f"members={self.members}, start={self.start}, spacing={self.spacing}: expected room for "
                f"{self.members} snapshots after step {first} of {steps}; lower start, spacing or members"
            )
        return [first + (k + 1) * spacing for k in range(self.members)]

    def rate(self, training: Training, steps: int) -> LearningRate:
        """The learning rate at each step."""
        first, snapshots = round(self.start * steps), self.snapshots(steps)
        spacing, half = snapshots[0] - first, first / 2

        def at(step: int) -> float:
            if step >= first and self.rates == "cyclical":
                height = 1 - abs(2 * ((step + 1 - first) % spacing) / spacing - 1)
                return self.swe_lr * (0.1 + 0.9 * height)
            if step >= first:
                return self.swe_lr
            done = max(0.0, (step - half) / max(1.0, half))
            return training.warmed_up(step, steps) * (1 - done) + self.swe_lr * done

        return at

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The one network until there is a snapshot, then the snapshots so far."""
        steps = task.stages.steps
        wanted = self.snapshots(steps)
        rate = self.rate(task.stages.training, steps)
        for state in task.train(lambda: task.fresh(1), rate=rate, stops=wanted):
            if state.step in wanted:
                kept = task.decay(state, self.anneal, rate(state.step)) if self.anneal else state.map(torch.clone)
                # With the optimizer's state: what the checkpoint keeps, so that snapshots survive a restart.
                state.slots[f"snapshot {wanted.index(state.step):03d}"] = kept.thetas
            snapshots = _taken_snapshots(state)
            yield Ensemble.of_members(
                stack.join_stacks(snapshots) if snapshots else state.thetas, chain_pairs(max(1, len(snapshots)))
            )
            if len(snapshots) == len(wanted):
                return


def _taken_snapshots(state: State) -> list[Stack]:
    return [tensors for slot, tensors in sorted(state.slots.items()) if slot.startswith("snapshot ")]
