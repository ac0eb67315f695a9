"""Networks trained alone, kept by content: what trunks and teachers are, trained once and used by many trials.

A run is one member's training from scratch. Its folder holds its states as safetensors: all of them on a grid of
the budget for member 0 (the trunk of any time t continues from the nearest), the last one for the others.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from basin import stack
from basin.data import Data
from basin.files import replace_atomically
from basin.network import Network
from basin.objective import Meter
from basin.training import State, Training, train

GRID = 20
"""A trunk keeps this many states, evenly over its budget."""


@dataclass(frozen=True)
class Runs:
    """The single runs of one task, made when first asked for."""

    network: Network
    data: Data
    training: Training
    seed: int
    folder: Path
    """Where the runs of this dataset, model, training and seed are kept."""

    @property
    def steps(self) -> int:
        """SGD steps of a whole run."""
        return self.training.steps(len(self.data.train))

    def state(self, member: int, step: int | None = None) -> State:
        """The single network of `member` at `step` (default: the end), trained as far as it is not there yet."""
        target = self.steps if step is None else step
        state = self._nearest(member, target)
        stops = {kept for kept in self._kept(member) if state.step < kept <= target}
        for reached in self._advance(state, member, target, stops):
            if reached.step in stops:
                save(reached, self._path(member, reached.step))
        return state  # which training has changed in place

    def complete(self, member: int) -> bool:
        """Whether the whole run is there."""
        return self._nearest(member, self.steps).step == self.steps

    def _kept(self, member: int) -> list[int]:
        grid = [round(self.steps * point / GRID) for point in range(1, GRID + 1)]
        return grid if member == 0 else [self.steps]

    def _advance(self, state: State, member: int, until: int, stops: Collection[int]) -> Iterator[State]:
        return train(
            self.network,
            self.data,
            state,
            training=self.training,
            seed=self.seed,
            members=[member],
            until=until,
            meter=Meter(),
            stops=stops,
        )

    def _nearest(self, member: int, step: int) -> State:
        for kept in reversed([kept for kept in self._kept(member) if kept <= step]):
            state = load(self._path(member, kept))
            if state is not None:
                return state.map(lambda tensor: tensor.to(self.network.device))
        return State(stack.stack([self.network.init(self.seed, "member", member)]))

    def _path(self, member: int, step: int) -> Path:
        return self.folder / f"member-{member}" / f"step-{step:07d}.safetensors"


def save(state: State, path: Path, **notes: str) -> None:
    """Write a state atomically: readers see the old file or the new one, never a part."""
    tensors = {f"thetas/{name}": tensor for name, tensor in state.thetas.items()}
    for slot, named in state.slots.items():
        tensors |= {f"slots/{slot}/{name}": tensor for name, tensor in named.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    notes |= {"step": str(state.step), "loss": repr(state.loss)}
    replace_atomically(path, lambda temporary: save_file(tensors, temporary, notes))


def load(path: Path) -> State | None:
    """The state in a file, on the CPU; None if it is absent or torn, for then it is made again."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = State({}, {}, int(notes["step"]), float(notes["loss"]))
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                kind, _, rest = name.partition("/")
                if kind == "thetas":
                    state.thetas[rest] = file.get_tensor(name)
                else:
                    slot, _, weight = rest.partition("/")
                    state.slots.setdefault(slot, {})[weight] = file.get_tensor(name)
            return state
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None


def notes(path: Path) -> dict[str, str]:
    """What was written beside a state; nothing if the file is absent or torn."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (FileNotFoundError, SafetensorError):
        return {}
