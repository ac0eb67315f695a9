"""A constrained step beside K plain ones: one more network a step should cost (K+1)/K, and little more."""

from dataclasses import replace

from basin.constraints import tied
from basin.objective import Objective
from benchmarks.ensembles import ENGINES, Ensembles, Settings, against_plain
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report, compare
from benchmarks.timing import Contestant, interleaved

CONSTRAINTS = ("path", "simplex", "proximal")


def run(options: Options) -> Report:
    """Each constraint in each way that a device offers, against the same way without a constraint."""
    settings = options.settle(replace(Settings(), batch_size=100))
    ensembles = Ensembles(options, settings)
    contestants: dict[str, Contestant] = {}
    for engine in ENGINES[options.device.type]:
        contestants[f"plain, {engine}"] = ensembles.ours(ensembles.network(engine, "bfloat16"))
        for constraint in CONSTRAINTS:
            objective = tied(Objective(), constraint=constraint, beta=1.0)
            network = ensembles.network(engine, "bfloat16")
            contestants[f"{constraint}, {engine}"] = ensembles.ours(network, objective)
    timings = interleaved(contestants, repeats=options.repeats)
    numbers = {"(K+1)/K": (settings.members + 1) / settings.members}
    numbers |= against_plain(timings)
    table = compare(settings.title, timings, unit="images", reference=next(iter(contestants)))
    return Report("constrained", describe(options.device), (table,), numbers)
