"""What a construction is given: a network, data, a budget, and what others have trained already."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from basin import runs, stack
from basin.data import Data, Images
from basin.files import Nowhere, Remote
from basin.interrupt import PreemptedError
from basin.network import Network
from basin.objective import Meter, Objective
from basin.runs import Runs
from basin.stack import Stack
from basin.training import Rate, State, train


@dataclass
class Task:
    """One trial's surroundings."""

    network: Network
    data: Data
    runs: Runs
    other: Images | None = None
    """Images of another dataset, in the shape of this one's."""
    scratch: Path | None = None
    """Folder of the checkpoint from which a trial that was cut off goes on."""
    remote: Remote = field(default_factory=Nowhere)
    """Where that lies too."""
    meter: Meter = field(default_factory=Meter)

    def single(self, member: int) -> State:
        """The end of a network's own training; its passes count as this task's."""
        self.meter.passes += self.runs.steps
        return self.runs.state(member)

    def teachers(self, count: int) -> Stack:
        """The members of the deep ensemble with this seed; their passes are counted apart."""
        self.meter.teacher_passes += count * self.runs.steps
        return stack.concatenate([self.runs.state(member).thetas for member in range(count)])

    def trunk(self, t: float) -> State:
        """Member 0 of the deep ensemble at the fraction `t` of its budget; its passes count once."""
        step = round(t * self.runs.steps)
        self.meter.passes += step
        return self.runs.state(0, step)

    def fresh(self, count: int) -> State:
        """The members of the deep ensemble before their first step."""
        return State(stack.stack([self.network.init(self.runs.seed, "member", member) for member in range(count)]))

    def restarted(self, t: float) -> Rate:
        """The whole learning-rate schedule within what is left of the budget after the time t."""
        start = round(t * self.runs.steps)
        return lambda step: self.runs.training.lr_at(step - start, self.runs.steps - start)

    def decay(self, state: State, steps: int, top: float) -> State:
        """A copy of a network after `steps` more steps, in which its learning rate falls linearly from `top` to 0."""
        copy, start = state.map(torch.clone), state.step
        *_, last = train(
            self.network,
            self.data,
            copy,
            training=self.runs.training,
            seed=self.runs.seed,
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
        rate: Rate | None = None,
        stops: Collection[int] = (),
    ) -> Iterator[State]:
        """Train a stack to the end of the budget, from `start` or from this trial's own checkpoint.

        The checkpoint of a state is written only after the consumer has taken it, so that what was recorded of a
        trial is never behind its checkpoint; when the process must go, one is written between two epochs.
        """
        begin = self._restore() or start()
        if begin.step == self.runs.steps:
            yield begin
        states = train(
            self.network,
            self.data,
            begin,
            objective,
            training=self.runs.training,
            seed=self.runs.seed,
            members=range(stack.size(begin.thetas)),
            until=self.runs.steps,
            meter=self.meter,
            rate=rate,
            stops=stops,
        )
        try:
            for state in states:
                yield state
                self._save(state)
        except PreemptedError:
            self._save(begin)
            raise

    def _save(self, state: State) -> None:
        if self.scratch and state.step < self.runs.steps:
            runs.save(state, self.scratch / "state.safetensors", meter=json.dumps(asdict(self.meter)))
            self.remote.send(self.scratch / "state.safetensors")

    def saved_meter(self) -> Meter | None:
        """What this trial had spent at its checkpoint; None without one."""
        notes = runs.notes(self.scratch / "state.safetensors") if self.scratch else {}
        return Meter(**json.loads(notes["meter"])) if "meter" in notes else None

    def forget(self) -> None:
        """Drop this trial's checkpoint."""
        if self.scratch:
            (self.scratch / "state.safetensors").unlink(missing_ok=True)

    def _restore(self) -> State | None:
        saved = self.saved_meter()
        state = runs.load(self.scratch / "state.safetensors") if self.scratch else None
        if state is None or saved is None:
            return None
        self.meter.__dict__.update(saved.__dict__)
        return state.map(lambda tensor: tensor.to(self.network.device))
