"""Networks trained alone, kept by content: what trunks and teachers are, trained once and used by many trials.

A run is one member's training from scratch. Its folder holds its states as safetensors: all of them on a grid of
the budget for member 0 (the trunk of any time t continues from the nearest), the last one for the others.
"""

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from basin import stack
from basin.data import Data
from basin.files import Nowhere, Remote, replace_atomically
from basin.interrupt import PreemptedError
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
    remote: Remote = field(default_factory=Nowhere)
    """Where they lie too."""

    @property
    def steps(self) -> int:
        """SGD steps of a whole run."""
        return self.training.steps(len(self.data.train))

    def state(self, member: int, step: int | None = None) -> State:
        """The single network of `member` at `step` (default: the end), trained as far as it is not there yet."""
        target = self.steps if step is None else step
        state = self._nearest(member, target)
        if state.step < target:
            self._advance(state, member, target)
        return state

    def seconds(self, needs: Mapping[int, int]) -> float | None:
        """Wall seconds that what is there of these runs, member → step, has taken; None if a file does not say."""
        there = [self._found(member, step) for member, step in needs.items()]
        spent = [state.seconds for state in there if state]
        return None if None in spent else sum((found for found in spent if found), 0.0)

    def complete(self, member: int) -> bool:
        """Whether the whole run is there."""
        return self._nearest(member, self.steps).step == self.steps

    def _kept(self, member: int) -> list[int]:
        return kept(member, self.steps)

    def _advance(self, state: State, member: int, until: int) -> None:
        """Train on, in place; kept are the steps of the grid, else the end of an epoch or where the process must go."""
        stops = {kept for kept in self._kept(member) if state.step < kept <= until}
        began, before = time.perf_counter(), state.seconds
        states = train(
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
        try:
            for _ in states:
                state.seconds = _later(before, began)
                if state.step in stops:
                    self._save(state, self._path(member, state.step))
                elif state.step < until:
                    self._save(state, self._partial(member))
        except PreemptedError:
            state.seconds = _later(before, began)
            self._save(state, self._partial(member))
            raise
        self._partial(member).unlink(missing_ok=True)
        self.remote.remove(self._partial(member))

    def _save(self, state: State, path: Path) -> None:
        save(state, path)
        self.remote.send(path)

    def _load(self, path: Path) -> State | None:
        self.remote.fetch(path)
        return load(path)

    def _nearest(self, member: int, step: int) -> State:
        found = self._found(member, step)
        if found:
            return found.map(lambda tensor: tensor.to(self.network.device))
        return State(stack.stack([self.network.init(self.seed, "member", member)]), seconds=0.0)

    def _found(self, member: int, step: int) -> State | None:
        """The last state on disk from which the run goes on to `step`, on the CPU."""
        partial = self._load(self._partial(member))
        if partial and partial.step > step:
            partial = None
        for kept in reversed([kept for kept in self._kept(member) if kept <= step]):
            if partial and partial.step >= kept:
                break
            state = self._load(self._path(member, kept))
            if state is not None:
                return state
        return partial

    def _partial(self, member: int) -> Path:
        """Where a run is that was cut off."""
        return self.folder / f"member-{member}" / "partial.safetensors"

    def _path(self, member: int, step: int) -> Path:
        return path(self.folder, member, step)


def _later(seconds: float | None, began: float) -> float | None:
    return None if seconds is None else seconds + time.perf_counter() - began


def kept(member: int, steps: int) -> list[int]:
    """The steps of a whole run of `steps` whose states stay on disk."""
    return [round(steps * point / GRID) for point in range(1, GRID + 1)] if member == 0 else [steps]


def path(folder: Path, member: int, step: int) -> Path:
    """Where the state of a single run lies."""
    return folder / f"member-{member}" / f"step-{step:07d}.safetensors"


def reached(folder: Path, member: int, step: int, steps: int) -> int:
    """The last step on disk from which the run goes on to `step`; 0 if there is none that can be read."""
    there = [stop for stop in kept(member, steps) if stop <= step and notes(path(folder, member, stop))]
    return max(there, default=0)


def save(state: State, path: Path, **notes: str) -> None:
    """Write a state atomically: readers see the old file or the new one, never a part."""
    tensors = {f"thetas/{name}": tensor for name, tensor in state.thetas.items()}
    for slot, named in state.slots.items():
        tensors |= {f"slots/{slot}/{name}": tensor for name, tensor in named.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    notes |= {"step": str(state.step), "loss": repr(state.loss)}
    if state.seconds is not None:
        notes["seconds"] = repr(state.seconds)
    content = serialized(tensors, notes)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_atomically(path, write)


def serialized(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> bytes:
    """Tensors and notes as a safetensors file that knows its checksum; equal contents are equal files.

    The library writes notes in an order of its own each time.
    """
    written = safetensors.torch.save(dict(tensors), {**notes, "checksum": checksum(tensors, notes)})
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + written[8 + size :]


def load(path: Path) -> State | None:
    """The state in a file, on the CPU; None if it is absent, torn or changed, for then it is made again."""
    found = read(path)
    if found is None:
        return None
    tensors, notes = found
    seconds = float(notes["seconds"]) if "seconds" in notes else None  # older files do not say
    state = State({}, {}, int(notes["step"]), float(notes["loss"]), seconds)
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "thetas":
            state.thetas[rest] = tensor
        else:
            slot, _, weight = rest.partition("/")
            state.slots.setdefault(slot, {})[weight] = tensor
    return state


def notes(path: Path) -> dict[str, str]:
    """What was written beside a state; nothing if the file is absent, torn or changed."""
    found = read(path)
    return found[1] if found else {}


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and notes of a file, as they were written; None if it is absent, torn or changed."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, ValueError):
        return None
    written = notes.pop("checksum", None)  # older files have none
    return (tensors, notes) if written in (None, checksum(tensors, notes)) else None


def checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """CRC-32 of names, shapes, values and notes, for a disk may return other bits than it was given."""
    crc = zlib.crc32(repr(sorted(notes.items())).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
