"""Training K networks: the loop that a user would write, and ours in every way, beside the machine's matrix rate."""

import torch

from benchmarks.apart import apart, reference, trial
from benchmarks.ensembles import ENGINES, Ensembles, Settings
from benchmarks.machine import describe, measure
from benchmarks.options import Options
from benchmarks.report import Report, compare
from benchmarks.timing import Contestant, interleaved

REFERENCE = "DataLoader, float32, one after another"


def run(options: Options) -> Report:
    """Member-images a second."""
    settings = options.settle(Settings())
    ensembles = Ensembles(options, settings)
    cores = torch.get_num_threads()
    contestants: dict[str, Contestant] = {REFERENCE: apart(reference, options, settings, processes=1, threads=cores)}
    contestants["float32, loop"] = ensembles.ours(ensembles.network("loop", "float32"))
    engines = (*ENGINES[options.device.type], *(("stacked",) if options.device.type == "cpu" else ()), "auto")
    networks = {f"bfloat16, {engine}": ensembles.network(engine, "bfloat16") for engine in engines}
    if options.device.type == "cpu" and cores > 1:
        beside = apart(trial, options, settings, processes=cores, threads=1)
        contestants[f"bfloat16, {cores} trials of one thread"] = beside
    contestants |= {name: ensembles.ours(network) for name, network in networks.items()}
    timings = interleaved(contestants, repeats=options.repeats)
    limit, flops = measure(options.device), ensembles.flops()
    rates = {name: (limit.bfloat16 if "bfloat16" in name else limit.float32) / flops for name in contestants}
    table = compare(settings.title, timings, unit="images", reference=REFERENCE, limits=rates)
    numbers = {
        "MFLOP an image, forward and backward": flops / 1e6,
        "MB a member keeps for its backward pass, bfloat16": ensembles.saved("bfloat16") / 1e6,
        "MB a member keeps for its backward pass, float32": ensembles.saved("float32") / 1e6,
        f"auto took {networks['bfloat16, auto'].engine.used}": 1,
    }
    return Report("train", describe(options.device), (table,), numbers, limit)
