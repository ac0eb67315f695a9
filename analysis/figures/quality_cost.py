"""Quality against the cost of training."""

from collections.abc import Callable
from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.answers.worth import deep_equivalent, deep_like, in_text, on_curve
from analysis.constructions import order
from analysis.data.queries import Configuration, Tables, best_by_construction, estimate_metric, keys_of, whole_seconds
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from stats.equivalent import Equivalent
from stats.intervals import Range, mean_interval, median_range

TITLE = "Quality against cost"
QUESTION = "What does training cost?"
WHAT = (
    "Accuracy of each construction (bars: 95 % interval over seeds and images) against training passes (one batch, "
    "one network, forward and backward) and against wall seconds (median; bars: range over seeds). Filled markers "
    "count the ensemble's own passes, a shared trunk once; hollow ones add the passes and forwards of its teachers, "
    "three forwards as one pass. Wall seconds cover the trial, evaluation included, and the whole of every stage that "
    "it is built from (members, teachers, trunk), although trials share stages. Constructions whose stages have no "
    "recorded seconds are named. Wall time depends on the load of the machine: use passes to compare training cost. "
    "Grey line: deep ensembles by their number of members, if there are several. Last panel: deep-ensemble equivalent "
    "(DEE) by calibrated log-likelihood, if the results contain a deep ensemble."
)
NEEDS = "quickstart"

Cost = Callable[[dict[str, Any]], float | None]


def draw(tables: Tables) -> Drawn:
    """Draw three panels per (dataset, model): accuracy against passes and seconds, DEE against passes."""
    by_setting = {setting: _with_costs(tables, by_name) for setting, by_name in best_by_construction(tables).items()}
    by_setting = {setting: able for setting, able in by_setting.items() if able}
    if not by_setting:
        raise Missing(f"no finished trial has passes and accuracy on the {tables.split} split")
    worths = {key: {name: deep_equivalent(tables, c) for name, c in able.items()} for key, able in by_setting.items()}
    wide = 3 if any(chain.from_iterable(by_name.values() for by_name in worths.values())) else 2
    figure, axes = style.panels(wide * len(by_setting), columns=wide, width=3.9, height=3.0)
    data: dict[str, Any] = {}
    sized = False
    for index, (setting, able) in enumerate(by_setting.items()):
        left, middle, *right = axes[wide * index : wide * (index + 1)]
        sized |= _draw_sizes(left, tables, next(iter(able.values())))
        data["/".join(setting)] = {"passes": _draw_panel(left, tables, able, _own_passes, _teacher_passes)}
        data["/".join(setting)]["seconds"] = _draw_times(middle, tables, able)
        left.set_title(" · ".join(setting))
        left.set_xlabel("passes (batches of one network)")
        for ax in right:
            data["/".join(setting)]["dee"] = _draw_worths(ax, tables, able, worths[setting])
    names = set(chain.from_iterable(by_setting.values()))
    looks = {name: look for name, look in style.looks(tables).items() if name in names}
    hollow = Line2D([], [], ls="", marker="o", color=style.GREY, mfc="white", label="with teachers")
    sizes = Line2D([], [], marker=".", color=style.GREY, lw=1, label="deep by members")
    taught = any(_has_teachers(panel["passes"]) for panel in data.values())
    more = [*([hollow] if taught else []), *([sizes] if sized else [])]
    style.draw_legend(figure, looks, points=True, more=more)
    return Drawn(figure, keys_of(chain.from_iterable(able.values() for able in by_setting.values())), data)


def _with_costs(tables: Tables, by_name: dict[str, Configuration]) -> dict[str, Configuration]:
    return {
        name: by_name[name]
        for name in order(by_name)
        if estimate_metric(tables, by_name[name], "accuracy") and _mean_cost(by_name[name], _own_passes) is not None
    }


def _own_passes(row: dict[str, Any]) -> float | None:
    return row.get("passes")


def _teacher_passes(row: dict[str, Any]) -> float | None:
    """Return the passes of the teachers' training, each of their forwards counted as a third of a pass."""
    return (row.get("teacher_passes") or 0) + (row.get("teacher_forwards") or 0) / 3


def _mean_cost(configuration: Configuration, cost: Cost) -> float | None:
    estimate = mean_interval(value for row in configuration.rows if (value := cost(row)) is not None)
    return estimate.mean if estimate else None


def _cost_spread(configuration: Configuration, cost: Cost) -> Range | None:
    return median_range(value for row in configuration.rows if (value := cost(row)) is not None)


def _has_teachers(panel: dict[str, Any]) -> bool:
    return any(shown["with_teachers"] > shown["cost"] for shown in panel.values())


def _draw_sizes(ax: Axes, tables: Tables, like: Configuration) -> bool:
    """Draw deep ensembles by size, labelled with their number of members; return whether there are several."""
    points: dict[int, tuple[float, float]] = {}
    for deep in deep_like(tables, like):
        passes, accuracy = _mean_cost(deep, _own_passes), estimate_metric(tables, deep, "accuracy")
        if passes is not None and accuracy:
            points[deep.hyperparameters["members"]] = passes, accuracy.mean
    if len(points) > 1:
        ordered = [points[members] for members in sorted(points)]
        ax.plot(*zip(*ordered, strict=True), color=style.GREY, lw=1, marker=".", zorder=1)
        for members, point in points.items():
            place: dict[str, Any] = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            ax.annotate(f"{members}", point, color=style.GREY, **place)
    return len(points) > 1


def _draw_panel(
    ax: Axes, tables: Tables, able: dict[str, Configuration], cost: Cost, more: Cost | None, *, spread: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Draw accuracy against the mean cost or, with `spread`, against its median with its range."""
    looks = style.looks(tables)
    shown: dict[str, Any] = {}
    for name, configuration in able.items():
        accuracy = estimate_metric(tables, configuration, "accuracy")
        ends = _cost_spread(configuration, cost) if spread else None
        x = ends.median if ends else _mean_cost(configuration, cost)
        if x is None or accuracy is None:
            continue
        look = looks[name]
        total = x + ((more and _mean_cost(configuration, more)) or 0.0)
        if total > x:
            ax.plot([x, total], [accuracy.mean, accuracy.mean], color=look.colour, lw=0.8, ls=(0, (1, 1.5)))
            ax.plot(total, accuracy.mean, color=look.colour, marker=look.marker, ms=6, mfc="white", ls="")
        marks: dict[str, Any] = {"color": look.colour, "marker": look.marker, "ms": 6, "capsize": 2, "elinewidth": 0.8}
        wide = [[x - ends.low], [ends.high - x]] if ends else None
        ax.errorbar(x, accuracy.mean, accuracy.half or 0.0, wide, mec="white", mew=0.5, zorder=3, **marks)
        shown[name] = {"cost": x, "with_teachers": total, "accuracy": accuracy.mean, "half": accuracy.half}
    ax.set_ylabel(f"{tables.split} accuracy (%)")
    ax.margins(x=0.1)
    ax.set_xlim(left=0)
    return shown


def _draw_times(ax: Axes, tables: Tables, able: dict[str, Configuration]) -> dict[str, Any]:
    """Draw accuracy against wall time with stages; name the constructions whose stage time is unknown."""
    unknown = [name for name, configuration in able.items() if _mean_cost(configuration, whole_seconds) is None]
    whole = len(unknown) < len(able)
    shown = _draw_panel(ax, tables, able, whole_seconds if whole else lambda row: row.get("seconds"), None, spread=True)
    ax.set_xlabel(f"wall time of a trial, {'with' if whole else 'without'} stages (s)")
    if whole and unknown:
        words = f"seconds of stages not kept:\n{', '.join(unknown)}"
        ax.set_title(words, fontsize=8, color=style.GREY)
    return shown


def _draw_worths(
    ax: Axes, tables: Tables, able: dict[str, Configuration], worths: dict[str, Equivalent | None]
) -> dict[str, Any]:  # fmt: skip
    """Draw deep-ensemble equivalents against passes."""
    looks = style.looks(tables)
    shown: dict[str, Any] = {}
    for name, configuration in sorted(able.items(), key=lambda item: _mean_cost(item[1], _own_passes) or 0.0):
        equivalent, x = worths[name], _mean_cost(configuration, _own_passes)
        if equivalent is None or x is None:
            continue
        look, y = looks[name], on_curve(equivalent)
        ax.plot(x, y, color=look.colour, marker=look.marker, ms=6, mec="white", mew=0.5, ls="")
        above = len(shown) % 2 == 0  # neighbours may be worth the same, as a permuted ensemble is what the deep one is
        place: dict[str, Any] = {"xytext": (0, 6 if above else -6), "ha": "center", "va": "bottom" if above else "top"}
        ax.annotate(str(equivalent), (x, y), textcoords="offset points", fontsize=7.5, color=look.colour, **place)
        shown[name] = in_text(equivalent)
    if not shown:
        ax.set_axis_off()
        words = "no deep ensemble to measure by"
        ax.text(0.5, 0.5, words, ha="center", va="center", color=style.GREY, transform=ax.transAxes)
        return shown
    ax.set_xlabel("passes (batches of one network)")
    ax.set_ylabel("worth (deep members, DEE)")
    ax.margins(y=0.15)
    ax.set_xlim(0, 1.25 * ax.dataLim.xmax)
    return shown
