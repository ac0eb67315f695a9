"""What a construction is given: a network, data, a budget, and what others have trained already."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from basin import runs, stack
from basin.data import Data
from basin.network import Network
from basin.objective import Meter, Objective
from basin.runs import Runs
from basin.stack import Stack
from basin.training import State, train


@dataclass
class Task:
    """One trial's surroundings."""

    network: Network
    data: Data
    runs: Runs
    scratch: Path | None = None
    """Folder of the checkpoint from which a trial that was cut off goes on."""
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

    def train(self, start: Callable[[], State], objective: Objective) -> Iterator[State]:
        """Train a stack to the end of the budget, from `start` or from this trial's own checkpoint.

        The checkpoint of a state is written only after the consumer has taken it, so that what was recorded of a
        trial is never behind its checkpoint.
        """
        begin = self._restore() or start()
        if begin.step == self.runs.steps:
            yield begin
        for state in train(
            self.network,
            self.data,
            begin,
            objective,
            training=self.runs.training,
            seed=self.runs.seed,
            members=range(stack.size(begin.thetas)),
            until=self.runs.steps,
            meter=self.meter,
        ):
            yield state
            if self.scratch and state.step < self.runs.steps:
                runs.save(state, self.scratch / "state.safetensors", meter=json.dumps(asdict(self.meter)))

    def saved_meter(self) -> Meter | None:
        """What this trial had spent at its checkpoint; None without one."""
        notes = runs.notes(self.scratch / "state.safetensors") if self.scratch else {}
        return Meter(**json.loads(notes["meter"])) if "meter" in notes else None

    def _restore(self) -> State | None:
        saved = self.saved_meter()
        state = runs.load(self.scratch / "state.safetensors") if self.scratch else None
        if state is None or saved is None:
            return None
        self.meter.__dict__.update(saved.__dict__)
        return state.map(lambda tensor: tensor.to(self.network.device))
