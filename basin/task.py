"""The context a construction trains in: network, data, budget and shared stages."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from basin import stack, stages
from basin.data import Data, Images
from basin.files import Nowhere, Remote
from basin.interrupt import PreemptedError
from basin.stack import Stack
from basin.stages import Stages
from basin.training.loop import LearningRate, State, train
from basin.training.network import Network
from basin.training.objective import Meter, Objective


@dataclass
class Task:
    """The context of one trial."""

    network: Network
    data: Data
    stages: Stages
    other: Images | None = None
    """Out-of-distribution images, in the shape of this dataset's."""
    scratch: Path | None = None
    """Checkpoint folder, from which an interrupted trial continues; None keeps no checkpoint."""
    remote: Remote = field(default_factory=Nowhere)
    """Storage of the checkpoint that other machines see."""
    meter: Meter = field(default_factory=Meter)

    def single(self, member: int) -> State:
        """The finished stage of a member; its passes count as this task's."""
        self.meter.passes += self.stages.steps
        return self.stages.state(member)

    def teachers(self, count: int) -> Stack:
        """The deep ensemble with this seed; its passes are counted separately."""
        self.meter.teacher_passes += count * self.stages.steps
        return stack.join_stacks([self.stages.state(member).thetas for member in range(count)])

    def trunk(self, t: float) -> State:
        """Member 0 of the deep ensemble at fraction `t` of its budget; its passes count once."""
        step = round(t * self.stages.steps)
        self.meter.passes += step
        return self.stages.state(0, step)

    def fresh(self, count: int) -> State:
        """The deep ensemble's members at initialisation."""
        return State(
            stack.stack_networks([self.network.init(self.stages.seed, "member", member) for member in range(count)])
        )

    def restarted(self, t: float) -> LearningRate:
        """The whole learning-rate schedule, compressed into the budget that remains after time t."""
        start = round(t * self.stages.steps)
        return lambda step: self.stages.training.lr_at(step - start, self.stages.steps - start)

    def decay(self, state: State, steps: int, top: float) -> State:
        """Train a copy for `steps` more steps while the learning rate falls linearly from `top` to 0."""
        copy, start = state.map(torch.clone), state.step
        *_, last = train(
            self.network,
            self.data,
            copy,
            training=self.stages.training,
            seed=self.stages.seed,
            members=[0],
            until=start + steps,
            meter=self.meter,
            rate=lambda step: top * (1 - (step - start + 1) / steps),
        )
        return last

    def train(
        self,
        start: Callable[[], State],
        objective: Objective = Objective(),  # noqa: B008 (frozen)
        *,
        rate: LearningRate | None = None,
        stops: Collection[int] = (),
        since: int = 0,
    ) -> Iterator[State]:
        """Train a stack to the end of the budget, from `start` or from this trial's own checkpoint.

        `since` is the step of the budget at which `start` stands, whether or not a checkpoint is further on.
        A state's checkpoint is written after the consumer has taken the state, so that the journal is never behind the
        checkpoint. On preemption a checkpoint is written between two epochs.
        """
        begin = self._restore_checkpoint() or start()
        if begin.step == self.stages.steps:
            yield begin
        states = train(
            self.network,
            self.data,
            begin,
            objective,
            training=self.stages.training,
            seed=self.stages.seed,
            members=range(stack.count_networks(begin.thetas)),
            until=self.stages.steps,
            meter=self.meter,
            rate=rate,
            stops=stops,
            since=since,
        )
        try:
            for state in states:
                yield state
                self._save_checkpoint(state)
        except PreemptedError:
            self._save_checkpoint(begin)
            raise

    def _save_checkpoint(self, state: State) -> None:
        if self.scratch and state.step < self.stages.steps:
            stages.save_state(
                state, self.scratch / "state.safetensors", meter=json.dumps(asdict(self.meter), allow_nan=False)
            )
            self.remote.send(self.scratch / "state.safetensors")

    def saved_meter(self) -> Meter | None:
        """The meter stored in this trial's checkpoint; None without a checkpoint."""
        notes = stages.read_notes(self.scratch / "state.safetensors") if self.scratch else {}
        return Meter(**json.loads(notes["meter"])) if "meter" in notes else None

    def forget(self) -> None:
        """Delete this trial's checkpoint."""
        if self.scratch:
            (self.scratch / "state.safetensors").unlink(missing_ok=True)

    def _restore_checkpoint(self) -> State | None:
        saved = self.saved_meter()
        state = stages.load_state(self.scratch / "state.safetensors") if self.scratch else None
        if state is None or saved is None:
            return None
        self.meter = saved
        return state.map(lambda tensor: tensor.to(self.network.device))
