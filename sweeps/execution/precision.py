"""Choose the precision of a sweep's training: bfloat16 where its machines are measurably faster with it."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from basin.constructions import constructions
from basin.environment import Place
from basin.task import Task
from basin.training.loop import State, Training, train
from basin.training.network import Precision
from basin.trial import Trial, open_task, overlay

INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names under which torch lists a CPU's bfloat16 instructions; the last is that of Arm."""
LEAST_GAIN = 1.15
"""Speed of bfloat16 relative to float32 from which it is chosen: below, noise would decide."""
ROUNDS = 7
"""Measurements of each precision, taken in turn."""
LEAST_ROUNDS = 3
SECONDS = 4.0
"""Time after which no further round begins."""
ROUND_SECONDS = 0.05
"""Least time of one measurement."""
PRECISIONS: tuple[Precision, Precision] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Decision:
    """The precision that a machine suggests for a trial."""

    precision: Precision
    reason: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Passes a second in each precision (on a CPU, of its time), their ratio, the device; empty if unmeasured."""

    def facts(self) -> dict[str, Any]:
        """The decision as it is recorded."""
        return {"precision": self.precision, "reason": self.reason, **self.measured}

    def __str__(self) -> str:
        return f"{self.precision} ({self.reason})"


def find_bfloat16(device: torch.device) -> str | None:
    """Name what computes bfloat16 on a device; None if it is emulated."""
    if device.type == "cuda":
        return "GPU" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return next((name for name in INSTRUCTIONS if capabilities.get(name)), None)


def describe_bfloat16(device: torch.device) -> str:
    """Say what precision=auto does on a device."""
    unit = find_bfloat16(device)
    if unit is None:
        return f"auto is float32: {_emulator(device)} emulates bfloat16"
    return f"auto measures at the launch: bfloat16, computed by {unit}, if it is {LEAST_GAIN} times as fast as float32"


def describe_emulation(trial: Trial, place: Place) -> str | None:
    """Warn of a trial in bfloat16 where it is emulated; None if there is nothing to warn of."""
    names = ("precision", "path_precision")
    chosen = [name for name in names if trial.flat()[name] == "bfloat16"]
    if not chosen or find_bfloat16(place.torch_device):
        return None
    given, better = (" ".join(f"--set {name}={kind}" for name in chosen) for kind in ("bfloat16", "float32"))
    return (
        f"{given}: {_emulator(place.torch_device)} emulates bfloat16, which is slower than float32: "
        f"give {better}, and another --name if trials have finished"
    )


def _emulator(device: torch.device) -> str:
    return "this GPU" if device.type == "cuda" else "this CPU"


def decide_precision(trial: Trial, place: Place) -> Decision:
    """Choose the precision of a trial on this machine: measured if it has bfloat16 instructions, else float32."""
    unit = find_bfloat16(place.torch_device)
    if unit is None:
        return Decision("float32", f"{_emulator(place.torch_device)} emulates bfloat16")
    measured = measure_precisions(trial, place)
    gain = measured["gain"]
    reason = f"bfloat16 by {unit} trains {gain:.2f} times as fast; {LEAST_GAIN} or more chooses it"
    facts = {name: round(number, 3) for name, number in measured.items()}
    device = str(place.describe()["device_name"])
    return Decision("bfloat16" if gain >= LEAST_GAIN else "float32", reason, {**facts, "device_name": device})


def measure_precisions(trial: Trial, place: Place) -> dict[str, float]:
    """Measure passes a second in both precisions, and `gain`, the median ratio of measurements taken in turn.

    On a CPU one network is trained, and its processor time counts, which other programs hardly change. On a GPU the
    networks of a whole ensemble are trained, side by side.
    """
    place.prepare()
    with TemporaryDirectory() as folder:
        place = replace(place, machine=replace(place.machine, compile=False), runs=Path(folder), scratch=None)
        on_gpu = place.torch_device.type == "cuda"
        clock = time.perf_counter if on_gpu else time.process_time
        members = trial.construction.members if on_gpu else 1
        trial = replace(trial, construction=constructions.make("deep", members=members))
        steppers = [_begin_training(overlay(trial, {"precision": name}), place, members) for name in PRECISIONS]
        began = time.perf_counter()
        for _ in range(2):  # the first steps choose an execution mode and warm it up
            warm = [_seconds_per_step(steps, 1, clock) for steps in steppers]
        counts = [max(1, round(ROUND_SECONDS / seconds)) for seconds in warm]
        rounds: list[list[float]] = []
        while len(rounds) < ROUNDS and (len(rounds) < LEAST_ROUNDS or time.perf_counter() - began < SECONDS):
            pairs = zip(steppers, counts, strict=True)
            rounds.append([_seconds_per_step(steps, count, clock) for steps, count in pairs])
    rates = {
        f"{name}_passes": members / statistics.median(spent)
        for name, spent in zip(PRECISIONS, zip(*rounds, strict=True), strict=True)
    }
    return {**rates, "gain": statistics.median(slow / fast for slow, fast in rounds)}


def _begin_training(trial: Trial, place: Place, members: int) -> Iterator[State]:
    """Train networks that a learning rate of 0 keeps from diverging."""
    return train_endlessly(open_task(trial, place), replace(trial.training, lr=0.0), members)


def train_endlessly(task: Task, training: Training, members: int) -> Iterator[State]:
    """Train fresh networks without an end, to measure their steps; yields after each."""
    return train(
        task.network,
        task.data,
        task.fresh(members),
        training=replace(training, epochs=10**6),
        seed=0,
        members=range(members),
        until=10**6,
        meter=task.meter,
        stops=range(10**6),
    )


def _seconds_per_step(steps: Iterator[State], count: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(count):
        next(steps)
    return (clock() - began) / count
