"""Training K networks: ours in every execution mode, against a plain PyTorch loop and the machine's limit."""

from itertools import product

import torch

from basin.training.execution_mode import EngineName
from basin.training.network import Network, Precision
from benchmarks.apart import reference_contestant, run_apart, trial_contestant
from benchmarks.ensembles import ENGINES, QUICK, Ensembles, Settings
from benchmarks.machine import describe_machine, measure_limit
from benchmarks.options import Options
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, time_interleaved

__all__ = ["QUICK", "run"]
REFERENCE = "DataLoader, float32, one after another"

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def run(options: Options) -> Report:
    """Member-images a second."""
    settings = options.settle(Settings())
    ensembles = Ensembles(options, settings)
    cores = torch.get_num_threads()
    contestants: dict[str, Contestant] = {
        REFERENCE: run_apart(reference_contestant, options, settings, processes=1, threads=cores)
    }
    networks = _make_networks(ensembles)
    if options.device.type == "cpu" and cores > 1:
        trials = run_apart(trial_contestant, options, settings, processes=cores, threads=1)
        contestants[f"bfloat16, {cores} trials of one thread"] = trials
    if options.device.type == "cuda":
        trials = run_apart(trial_contestant, options, settings, processes=2, threads=1)
        contestants["bfloat16, 2 trials on the GPU"] = trials
    contestants |= {name: ensembles.ours(network) for name, network in networks.items()}
    timings = time_interleaved(contestants, repeats=options.repeats)
    limit, flops = measure_limit(options.device), ensembles.flops()
    rates = {name: (limit.bfloat16 if "bfloat16" in name else limit.float32) / flops for name in contestants}
    table = compare_timings(settings.title, timings, unit="images", reference=REFERENCE, limits=rates)
    numbers = {
        "MFLOP an image, forward and backward": flops / 1e6,
        "MB a member keeps for its backward pass, bfloat16": ensembles.saved("bfloat16") / 1e6,
        "MB a member keeps for its backward pass, float32": ensembles.saved("float32") / 1e6,
    }
    numbers |= {f"{name} took {networks[f'{name}, auto'].engine.used}": 1 for name in PRECISIONS}
    return Report("train", describe_machine(options.device), (table,), numbers, limit)


def _make_networks(ensembles: Ensembles) -> dict[str, Network]:
    """Each precision in the modes between which the engine chooses, and stacked on a CPU, which is slow."""
    device = ensembles.device.type
    ways: list[tuple[Precision, EngineName]] = list(product(PRECISIONS, (*ENGINES[device], "auto")))
    if device == "cpu":
        ways.append(("bfloat16", "stacked"))
    return {f"{precision}, {engine}": ensembles.network(engine, precision) for precision, engine in ways}
