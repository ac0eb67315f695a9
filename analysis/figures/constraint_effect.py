"""Effect of the constraint: distance, diversity, barriers and member accuracy against its strength β."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    configuration_families,
    estimate_metric,
    keys_of,
    rows_of,
)
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from stats.intervals import Estimate, mean_interval

TITLE = "What the constraint does"
QUESTION = "What does connectivity cost?"
WHAT = (
    "Constrained ensembles that differ only in the constraint and its strength β: disagreement of two members, the "
    "barriers of accuracy and loss on the paths between them (largest over pairs), the accuracy of the mean member "
    "and, if measured, the distance between members in weight space. Mean over seeds; bars: 95 % interval over seeds, "
    "and over images where they are stored. The β axis is linear below its smallest positive value and logarithmic "
    "above. A constraint that works lowers the barriers; if the members' accuracy falls as well, the ensemble "
    "collapses."
)
NEEDS = "constraint"

PANELS = {
    "disagreement": "disagreement",
    "barrier": "accuracy barrier",
    "loss_barrier": "loss barrier",
    "member_mean_accuracy": "mean member",
}
DISTANCE = "member_distance"
COLOURS = {"path": BLUE, "matching": GREEN, "simplex": PURPLE, "star": ORANGE, "proximal": VERMILLION}
STRENGTHS = 3
"""Minimum number of β values for a constraint to be drawn."""

Lines = dict[str, dict[float, Configuration]]
"""Constraint → β → its configuration."""


def draw(tables: Tables) -> Drawn:
    """Draw four or five panels per (dataset, model), with one line per constraint."""
    by_setting = _constraint_lines(tables)
    distance = any(row.get(DISTANCE) is not None for row in tables.rows)
    panels = (*PANELS, *([DISTANCE] if distance else []))
    columns = 3 if distance else 2
    places = -(-len(panels) // columns) * columns
    figure, axes = style.panels(places * len(by_setting), columns=columns, width=3.9, height=2.8)
    data: dict[str, Any] = {}
    for index, (setting, lines) in enumerate(by_setting.items()):
        panel_axes = axes[places * index : places * (index + 1)]
        panel_axes[0].set_title(" · ".join(setting))
        data["/".join(setting)] = {
            m: _draw_panel(ax, tables, lines, m) for m, ax in zip(panels, panel_axes, strict=False)
        }
        for ax in panel_axes[len(panels) :]:
            ax.set_axis_off()
    kinds = sorted(set(chain.from_iterable(by_setting.values())), key=_constraint_order)
    handles = [Line2D([], [], color=_constraint_colour(kind), marker="o", ms=4, label=kind) for kind in kinds]
    style.draw_legend(figure, {}, points=False, more=handles)
    drawn = chain.from_iterable(_all_configurations(lines) for lines in by_setting.values())
    return Drawn(figure, keys_of(drawn), data)


def _all_configurations(lines: Lines) -> list[Configuration]:
    return list(chain.from_iterable(line.values() for line in lines.values()))


def _constraint_lines(tables: Tables) -> dict[Setting, Lines]:
    by_setting: dict[Setting, Lines] = {}
    for setting, family in configuration_families(tables, "constrained", ["constraint", "beta"]).items():
        lines: Lines = {}
        for c in sorted(family, key=lambda c: c.hyperparameters["beta"]):
            lines.setdefault(str(c.hyperparameters["constraint"]), {})[c.hyperparameters["beta"]] = c
        if kept := {kind: line for kind, line in lines.items() if len(line) >= STRENGTHS}:
            by_setting[setting] = kept
    if not by_setting:
        raise Missing(f"no constraint has {STRENGTHS} values of β")
    return by_setting


def _draw_panel(ax: Axes, tables: Tables, lines: Lines, metric: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for kind in sorted(lines, key=_constraint_order):
        points = {beta: at for beta, c in lines[kind].items() if (at := _estimate_panel(tables, c, metric))}
        means, halves = [at.mean for at in points.values()], [at.half or 0.0 for at in points.values()]
        marks: dict[str, Any] = {"marker": "o", "ms": 4, "capsize": 2, "elinewidth": 0.8, "lw": 1.2}
        ax.errorbar(list(points), means, halves, color=_constraint_colour(kind), **marks)
        shown[kind] = {"beta": list(points), "mean": means, "half": halves}
    _strength_axis(ax, sorted(set(chain.from_iterable(lines.values()))))
    ax.set_xlabel("constraint strength β")
    ax.set_ylabel(_value_label(tables, lines, metric))
    if "barrier" in metric:
        ax.axhline(0, color=style.GREY, lw=0.6, zorder=1)
    return shown


def _estimate_panel(tables: Tables, configuration: Configuration, metric: str) -> Estimate | None:
    if metric == DISTANCE:
        return mean_interval(configuration.by_seed(DISTANCE).values())
    return estimate_metric(tables, configuration, metric)


def _value_label(tables: Tables, lines: Lines, metric: str) -> str:
    if metric == DISTANCE:
        return style.axis_label(tables, DISTANCE, "distance between members")
    try:
        column = tables.column(metric, rows_of(_all_configurations(lines)))
    except Missing:
        return f"{tables.split} {PANELS[metric]} (not measured)"
    return style.axis_label(tables, column, f"{tables.split} {PANELS[metric]}")


def _strength_axis(ax: Axes, betas: Sequence[float]) -> None:
    """Make β logarithmic, with room for β = 0, and name the values that there are."""
    least = min((beta for beta in betas if beta > 0), default=1.0)
    ax.set_xscale("symlog", linthresh=least)
    ax.xaxis.set_major_locator(FixedLocator(betas))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(-0.2 * least, 1.25 * max(betas))


def _constraint_colour(kind: str) -> str:
    return COLOURS.get(kind, SKY)


def _constraint_order(kind: str) -> tuple[int, str]:
    names = list(COLOURS)
    return names.index(kind) if kind in names else len(names), kind
