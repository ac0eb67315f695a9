"""Training speed by K, batch, width and resolution, one at a time: a table and, on request, a plot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe_machine, measure_limit
from benchmarks.options import Options
from benchmarks.report import Report, Table, compare_timings
from benchmarks.timing import time_interleaved

AXES: dict[str, Sequence[float]] = {
    "members": (1, 2, 4, 8, 16),
    "batch_size": (32, 64, 128, 256, 512),
    "width": (1, 2, 4),
    "resolution": (32, 64),
}


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """The point that the axes go through."""

    plot: str = ""
    """File to draw the rates in (nothing: none)."""


def run(options: Options) -> Report:
    """Member-images a second in bfloat16, the engine chosen by itself, with the share of the matrix rate."""
    settings = options.settle(Settings(steps=1))
    limit = measure_limit(options.device).bfloat16
    tables = tuple(_measure_axis(options, settings, name, values, limit) for name, values in AXES.items())
    if settings.plot:
        _draw_figure(tables, Path(settings.plot))
    return Report("scaling", describe_machine(options.device), tables)


def _measure_axis(options: Options, settings: Settings, name: str, values: Sequence[float], limit: float) -> Table:
    contestants, rates = {}, {}
    for value in values:
        changed = replace(settings, **{name: type(getattr(settings, name))(value)})
        made = Ensembles(options, replace(changed, images=max(changed.images, changed.batch_size)))
        contestants[f"{value:g}"] = made.ours(made.network("auto", "bfloat16"))
        rates[f"{value:g}"] = limit / made.flops()
    timings = time_interleaved(contestants, repeats=options.repeats, title=name)
    return compare_timings(name, timings, unit="images", reference=next(iter(contestants)), limits=rates)


def _draw_figure(tables: Sequence[Table], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(tables), 3), layout="constrained")
    for axes, table in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        names = [line.contestant for line in table.lines]
        axes.bar(names, [line.rate for line in table.lines], color="#4477aa")
        for name, line in zip(names, table.lines, strict=True):
            axes.annotate(f"{100 * (line.share or 0):.0f} %", (name, line.rate), ha="center", va="bottom", fontsize=8)
        axes.set(xlabel=table.title.replace("_", " "))
        axes.margins(y=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("member-images a second\n(share of the matrix rate)")
    figure.savefig(path, dpi=150)
