"""Profile of a training step: CPU operators or GPU kernels, the most expensive first."""

import time
from dataclasses import dataclass
from typing import Annotated

import torch
from torch.profiler import ProfilerActivity, profile

from basin.spec import Bounds
from basin.training.execution_mode import EngineName
from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced, tell_numbers
from benchmarks.report import Report

ROUNDS = 3
"""Rounds before the one that is taken apart."""
QUICK = ensembles.QUICK


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """Settings of the profile."""

    engine: EngineName = "auto"
    """Execution mode of the networks."""
    compile: bool = False
    """Fuse the passes with torch.compile."""
    top: Annotated[int, Bounds(1)] = 20
    """Operators or kernels that are shown."""


def run(options: Options) -> Report:
    """Milliseconds a step of all members, without the profiler and by operator or kernel with it."""
    settings, device = options.settle(Settings()), options.device
    made = Ensembles(options, settings)
    step = made.ours(made.network(settings.engine, "bfloat16", compiled=settings.compile))
    for _ in paced(range(ROUNDS), "rounds before the profile"):
        step()
    began = time.perf_counter()
    step()
    numbers = {"wall (ms a step)": 1e3 * (time.perf_counter() - began) / settings.steps}
    tell_numbers(numbers)
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as taken:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    spent = {
        event.key: (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total)
        / 1e3
        / settings.steps
        for event in taken.key_averages()
    }
    counts = {event.key: event.count / settings.steps for event in taken.key_averages()}
    numbers["all, one after another (ms a step)"] = sum(spent.values())
    numbers["launched a step"] = sum(counts.values())
    heaviest = sorted(spent, key=lambda name: -spent[name])[: settings.top]
    numbers |= {f"{name[:70]}…{name[-30:]} × {counts[name]:.0f} (ms)": spent[name] for name in heaviest}
    return Report("kernels", describe_machine(device), (), numbers)
