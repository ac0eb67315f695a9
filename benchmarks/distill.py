"""A distilled step against a plain one: teachers evaluated at each step, in one call, or from stored logits."""

from dataclasses import replace

from basin.training.distillation import Distillation, Teachers
from basin.training.execution_mode import EngineName
from basin.training.network import Network, Precision
from benchmarks.ensembles import ENGINES, QUICK, Ensembles, Settings, against_plain
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, time_interleaved

__all__ = ["QUICK", "run"]


def run(options: Options) -> Report:
    """One-to-one teachers of augmented images, and of images that are the same in each epoch."""
    settings = options.settle(replace(Settings(), batch_size=100))
    ensembles = Ensembles(options, settings)
    contestants: dict[str, Contestant] = {}
    for engine in ENGINES[options.device.type]:
        plain = ensembles.network(engine, "bfloat16")
        contestants[f"plain, {engine}"] = ensembles.ours(plain)
        contestants[f"distilled, {engine}"] = _distilled_contestant(ensembles, engine, "bfloat16")
        contestants[f"distilled, float32 teachers, {engine}"] = _distilled_contestant(ensembles, engine, "float32")
    still = Ensembles(options, settings, augment="none")
    first = ENGINES[options.device.type][0]
    contestants[f"distilled, remembered, {first}"] = _distilled_contestant(still, first, "bfloat16", remember=True)
    timings = time_interleaved(contestants, repeats=options.repeats)
    numbers = against_plain(timings)
    table = compare_timings(settings.title, timings, unit="images", reference=next(iter(contestants)))
    return Report("distill", describe_machine(options.device), (table,), numbers)


def _distilled_contestant(
    ensembles: Ensembles, engine: EngineName, teachers: Precision, *, remember: bool = False
) -> Contestant:
    network = ensembles.network(engine, "bfloat16")
    asked: Network = ensembles.network(engine, teachers)
    known = Teachers(asked, ensembles.stack(asked))
    if remember:
        known.remember(ensembles.data, ensembles.settings.batch_size)
    loss = Distillation(known, temperature=2.0, weight=0.9)
    return ensembles.ours(network, loss.objective())
