"""Connectivity against ensemble accuracy of every configuration (Figure 3 of Lion et al. 2024)."""

from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.answers.words import counted, signed
from analysis.constructions import REFERENCE
from analysis.data.queries import (
    Configuration,
    Tables,
    best_by_construction,
    candidates,
    mean_metric,
    on_front,
    rows_of,
)
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from stats import pareto
from stats.outliers import far_fence

TITLE = "Connectivity against accuracy"
QUESTION = "What does connectivity cost?"
WHAT = (
    "Each point is a configuration of the search or grid, averaged over its seeds: mean chord excess q̄ over pairs "
    "and paths (0 = perfectly connected) against the accuracy of the ensemble. Ringed: Pareto-optimal configurations "
    "on validation, with q̄ above 0 counted as 0; the step line is their front on the reported split. Dashed: "
    "accuracy of the deep ensemble; dotted: mean accuracy of its members. An x axis beyond -3 points is linear "
    "between -1 and 1 and logarithmic outside. Configurations below the frame are counted."
)
NEEDS = "quickstart"


def draw(tables: Tables) -> Drawn:
    """Draw one panel per (dataset, model)."""
    searched = candidates(tables)
    if not searched:
        raise Missing("no finished trials of a search or grid")
    settings = sorted({c.setting for c in searched})
    best = best_by_construction(tables)
    figure, axes = style.panels(len(settings), columns=2, width=5.4, height=3.6)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for ax, setting in zip(axes, settings, strict=True):
        deep = best[setting].get(REFERENCE)
        shown = _draw_panel(ax, tables, [c for c in searched if c.setting == setting], deep)
        ax.set_title(" · ".join(setting))
        data["/".join(setting)] = shown
        keys += [*chain.from_iterable(shown["keys"]), *(deep.keys if deep else [])]
    names = {c.construction for c in searched}
    looks = {name: look for name, look in style.looks(tables).items() if name in names}
    stepped = any(len(shown["front"]) > 1 for shown in data.values())
    ring = Line2D([], [], lw=1.1 * stepped, c=style.GREY, marker="o", ms=8, mfc="none", label="front by validation")
    style.draw_legend(figure, looks, points=True, more=[ring])
    return Drawn(figure, list(dict.fromkeys(keys)), data)


def _draw_panel(ax: Axes, tables: Tables, searched: list[Configuration], deep: Configuration | None) -> dict[str, Any]:
    rows = rows_of(searched)
    x_column, y_column = tables.column("q_bar", rows), tables.column("accuracy", rows)
    scored = [(c, mean_metric(tables, c, "q_bar"), mean_metric(tables, c, "accuracy")) for c in searched]
    points = [(c, x, y) for c, x, y in scored if x is not None and y is not None]
    if not points:
        raise Missing(f"no such trial has both {x_column} and {y_column}")
    kept, xs, ys = [c for c, _, _ in points], [x for _, x, _ in points], [y for _, _, y in points]
    lines = _draw_deep_lines(ax, tables, deep)
    floor = _lowest_drawn(ys, lines)
    names = [c.construction for c in kept]
    for name, look in style.looks(tables).items():
        at = [i for i, other in enumerate(names) if other == name and ys[i] >= floor]
        style.draw_points(ax, look, [xs[i] for i in at], [ys[i] for i in at], size=30)
    front = on_front(tables, kept)
    best = [i for i in front if ys[i] >= floor]
    ax.scatter([xs[i] for i in best], [ys[i] for i in best], s=62, fc="none", ec=style.GREY, lw=0.9, zorder=4)
    step = [best[i] for i in pareto.staircase([(xs[i], ys[i]) for i in best])]
    ax.step([xs[i] for i in step], [ys[i] for i in step], where="pre", c=style.GREY, lw=1.1, zorder=2)
    style.connectivity_axis(ax, xs)
    _finish_y_axis(ax, ys, floor, lines)
    ax.set_xlabel(style.axis_label(tables, x_column, rf"{tables.split} connectivity $\bar{{q}}$"))
    ax.set_ylabel(style.axis_label(tables, y_column, f"{tables.split} accuracy of the ensemble"))
    shown = {"keys": [c.keys for c in kept], "construction": names, x_column: xs, y_column: ys}
    return shown | {"front": [kept[i].keys for i in front], "deep": lines}


def _draw_deep_lines(ax: Axes, tables: Tables, deep: Configuration | None) -> dict[str, float]:
    """Draw labelled lines of the deep ensemble and its members; return the means by metric."""
    levels = {}
    for metric in ("accuracy", "member_mean_accuracy", "q_bar"):
        if deep and (value := mean_metric(tables, deep, metric)) is not None:
            levels[metric] = value
    q_bar = rf", $\bar{{q}}$ = {signed(levels['q_bar'], 1)}" if "q_bar" in levels else ""
    lines = [("accuracy", (0, (5, 3)), "deep ensemble", q_bar, "bottom")]
    lines += [("member_mean_accuracy", (0, (1, 2)), "its mean member", "", "top")]
    where: dict[str, Any] = {
        "xytext": (4, 0),
        "textcoords": "offset points",
        "xycoords": ax.get_yaxis_transform(),
        "fontsize": 7.5,
    }
    for metric, dash, name, more, side in lines:
        if metric in levels:
            ax.axhline(levels[metric], color=style.KNOWN[REFERENCE].colour, ls=dash, lw=1.2, zorder=1)
            ax.annotate(f"{name}\n{levels[metric]:.1f} %{more}", (1, levels[metric]), va=side, **where)
    return levels


def _lowest_drawn(ys: list[float], lines: dict[str, float]) -> float:
    """Return the lowest accuracy drawn; outliers would flatten the others into one line."""
    fence = far_fence(ys, least=0.5)
    kept = [y for y in ys if y >= fence]
    return min([*kept, *(value for name, value in lines.items() if name != "q_bar")])


def _finish_y_axis(ax: Axes, ys: list[float], floor: float, lines: dict[str, float]) -> None:
    top = max([*ys, *(value for name, value in lines.items() if name != "q_bar")])
    pad = 0.07 * max(top - floor, 1.0)
    ax.set_ylim(floor - 1.5 * pad, top + pad)
    hidden = sum(y < floor for y in ys)
    if hidden:
        words = f"{counted(hidden, 'configuration')} below the frame, down to {min(ys):.0f} %"
        ax.annotate(words, (0.01, 0.015), xycoords="axes fraction", fontsize=7.5, color=style.GREY)
