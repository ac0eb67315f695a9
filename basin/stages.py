"""Stages: single networks (trunks, teachers) that are trained once, stored by content, and shared by trials.

A stage is one member's training from scratch. Its folder holds its states as safetensors: all of them on a grid of
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
from basin.errors import UsageError
from basin.files import Nowhere, Remote, read_object, write_atomically
from basin.interrupt import PreemptedError
from basin.keys import Contents, describe_differences
from basin.training.loop import State, Training, train
from basin.training.network import Network
from basin.training.objective import Meter

GRID = 20
"""A trunk keeps this many states, evenly over its budget."""


@dataclass(frozen=True)
class Stages:
    """The stages of one task, trained on first use."""

    network: Network
    data: Data
    training: Training
    seed: int
    folder: Path
    """Folder of the stages of this dataset, model, training and seed."""
    remote: Remote = field(default_factory=Nowhere)
    """Storage that other machines see."""
    recipe: Contents = field(default_factory=dict)
    """Every value they depend on; stored in their folder and checked before they are used."""

    @property
    def steps(self) -> int:
        """Training steps of a whole stage."""
        return self.training.steps(len(self.data.train))

    def state(self, member: int, step: int | None = None) -> State:
        """Load the network of `member` at `step` (default: the end), training the steps that are missing.

        Raises UsageError if the folder holds networks of another recipe.
        """
        self._claim_folder()
        target = self.steps if step is None else step
        state = self._nearest_state(member, target)
        if state.step < target:
            self._train_until(state, member, target)
        return state

    def seconds(self, needs: Mapping[int, int]) -> float | None:
        """Wall seconds spent on the stored part of these stages (member → step); None if a file does not record it."""
        states = [self._state_on_disk(member, step) for member, step in needs.items()]
        spent = [state.seconds for state in states if state]
        return None if None in spent else sum((part for part in spent if part), 0.0)

    def _claim_folder(self) -> None:
        """Write the recipe into the folder before its first state, or check it against the stored one.

        An unreadable file is rewritten: the folder's name is the hash of its contents.
        """
        path = self.folder / "recipe.json"
        self.remote.fetch(path)
        stored = read_object(path)
        if not stored:
            write_atomically(path, json.dumps(self.recipe, indent=1, sort_keys=True, allow_nan=False) + "\n")
            self.remote.send(path)
        elif stored != self.recipe:
            raise UsageError(
                f"{self.folder} holds networks of another recipe ({describe_differences(stored, self.recipe)}): "
                "remove that folder, or give another --storage"
            )

    def _train_until(self, state: State, member: int, until: int) -> None:
        """Continue training in place; store the grid's states, and a partial one per epoch and on preemption."""
        stops = {kept for kept in kept_steps(member, self.steps) if state.step < kept <= until}
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
                state.seconds = _add_elapsed(before, began)
                if state.step in stops:
                    self._save_state(state, state_path(self.folder, member, state.step))
                elif state.step < until:
                    self._save_state(state, self._partial_path(member))
        except PreemptedError:
            state.seconds = _add_elapsed(before, began)
            self._save_state(state, self._partial_path(member))
            raise
        self._partial_path(member).unlink(missing_ok=True)
        self.remote.remove(self._partial_path(member))

    def _save_state(self, state: State, path: Path) -> None:
        save_state(state, path)
        self.remote.send(path)

    def _load_state(self, path: Path) -> State | None:
        self.remote.fetch(path)
        return load_state(path)

    def _nearest_state(self, member: int, step: int) -> State:
        stored = self._state_on_disk(member, step)
        if stored:
            return stored.map(lambda tensor: tensor.to(self.network.device))
        return State(stack.stack_networks([self.network.init(self.seed, "member", member)]), seconds=0.0)

    def _state_on_disk(self, member: int, step: int) -> State | None:
        """Latest stored state from which training to `step` can continue, on the CPU."""
        partial = self._load_state(self._partial_path(member))
        if partial and partial.step > step:
            partial = None
        for kept in reversed([kept for kept in kept_steps(member, self.steps) if kept <= step]):
            if partial and partial.step >= kept:
                break
            state = self._load_state(state_path(self.folder, member, kept))
            if state is not None:
                return state
        return partial

    def _partial_path(self, member: int) -> Path:
        """File of an interrupted stage."""
        return self.folder / f"member-{member}" / "partial.safetensors"


def _add_elapsed(seconds: float | None, began: float) -> float | None:
    return None if seconds is None else seconds + time.perf_counter() - began


def kept_steps(member: int, steps: int) -> list[int]:
    """Steps whose states stay on disk, of a stage of `steps` steps."""
    return [round(steps * point / GRID) for point in range(1, GRID + 1)] if member == 0 else [steps]


def state_path(folder: Path, member: int, step: int) -> Path:
    """File of the state of a stage at `step`."""
    return folder / f"member-{member}" / f"step-{step:07d}.safetensors"


def reached_step(folder: Path, member: int, step: int, steps: int) -> int:
    """Latest readable stored step up to `step`; 0 without one."""
    readable = [
        stop for stop in kept_steps(member, steps) if stop <= step and read_notes(state_path(folder, member, stop))
    ]
    return max(readable, default=0)


def save_state(state: State, path: Path, **notes: str) -> None:
    """Write a state atomically: readers see the old file or the new one, never a part."""
    tensors = {f"thetas/{name}": tensor for name, tensor in state.thetas.items()}
    for slot, named in state.slots.items():
        tensors |= {f"slots/{slot}/{name}": tensor for name, tensor in named.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    notes |= {"step": str(state.step), "loss": repr(state.loss)}
    if state.seconds is not None:
        notes["seconds"] = repr(state.seconds)
    write_atomically(path, serialize_tensors(tensors, notes))


def serialize_tensors(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> bytes:
    """Serialise tensors and notes to safetensors with a checksum; equal contents give equal bytes.

    The library writes notes in an arbitrary order, so the header is sorted here.
    """
    written = safetensors.torch.save(dict(tensors), {**notes, "checksum": tensor_checksum(tensors, notes)})
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + written[8 + size :]


def load_state(path: Path) -> State | None:
    """Load a state to the CPU; None if the file is missing, truncated or corrupt, so that it is trained again."""
    stored = read_tensors(path)
    if stored is None:
        return None
    tensors, notes = stored
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


def read_notes(path: Path) -> dict[str, str]:
    """Notes stored with a state; empty if the file is missing, truncated or corrupt."""
    stored = read_tensors(path)
    return stored[1] if stored else {}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read tensors and notes; None if the file is missing, truncated or fails its checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, ValueError):
        return None
    written = notes.pop("checksum", None)  # older files have none
    return (tensors, notes) if written in (None, tensor_checksum(tensors, notes)) else None


def tensor_checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """CRC-32 of names, shapes, values and notes: detects silent disk corruption."""
    crc = zlib.crc32(repr(sorted(notes.items())).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
