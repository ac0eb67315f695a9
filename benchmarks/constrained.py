"""A constrained step against K plain ones: one more network a step should cost little more than (K+1)/K."""

from dataclasses import replace

from basin.training.constraints import tie_members
from basin.training.objective import Objective
from benchmarks.ensembles import ENGINES, QUICK, Ensembles, Settings, against_plain
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, time_interleaved

__all__ = ["QUICK", "run"]
CONSTRAINTS = ("path", "simplex", "proximal")


def run(options: Options) -> Report:
    """Each constraint in each way that a device offers, against the same way without a constraint."""
    settings = options.settle(replace(Settings(), batch_size=100))
    ensembles = Ensembles(options, settings)
    contestants: dict[str, Contestant] = {}
    for engine in ENGINES[options.device.type]:
        contestants[f"plain, {engine}"] = ensembles.ours(ensembles.network(engine, "bfloat16"))
        for constraint in CONSTRAINTS:
            objective = tie_members(Objective(), constraint=constraint, beta=1.0)
            network = ensembles.network(engine, "bfloat16")
            contestants[f"{constraint}, {engine}"] = ensembles.ours(network, objective)
    timings = time_interleaved(contestants, repeats=options.repeats)
    numbers = {"(K+1)/K": (settings.members + 1) / settings.members}
    numbers |= against_plain(timings)
    table = compare_timings(settings.title, timings, unit="images", reference=next(iter(contestants)))
    return Report("constrained", describe_machine(options.device), (table,), numbers)
