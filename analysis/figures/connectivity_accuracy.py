"""Connectivity against ensemble accuracy of every trial (Figure 3 of Lion et al. 2024)."""

import contextlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Row, Setting, Tables, best_by_construction
from analysis.registry import Drawn
from analysis.statistics import mean_interval, pareto_front, signed

TITLE = "Connectivity against accuracy"
WHAT = (
    "Each point is one trial of the search or grid: mean chord excess q̄ over pairs and paths (0 = perfectly "
    "connected) against the ensemble's accuracy. Ringed: trials that no other beats in both on validation; the step "
    "line is their front on the split shown. Dashed: accuracy of the deep ensemble, dotted: its members' mean, over "
    "seeds. An x axis that goes beyond -3 points is logarithmic there, linear between -1 and 1. Trials below the "
    "frame are counted."
)
NEEDS = "python launch.py sweep {sweep}"


def draw(tables: Tables) -> Drawn:
    """One panel a (dataset, model)."""
    searched = [row for row in tables.rows if row["role"] in ("search", "grid") and row["construction"] != "deep"]
    if not searched:
        raise Missing("no finished trials of a search or grid")
    settings = sorted({_of(row) for row in searched})
    best = best_by_construction(tables)
    figure, axes = style.panels(len(settings), columns=2, width=5.4, height=3.6)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for ax, setting in zip(axes, settings, strict=True):
        deep = best[setting].get("deep")
        shown = _panel(ax, tables, [row for row in searched if _of(row) == setting], deep)
        ax.set_title(" · ".join(setting))
        data["/".join(setting)] = shown
        keys += [*shown["key"], *(deep.keys if deep else [])]
    names = {row["construction"] for row in searched}
    looks = {name: look for name, look in style.looks(tables).items() if name in names}
    ring = Line2D([], [], lw=1.1, c=style.GREY, marker="o", ms=8, mfc="none", label="front by validation")
    style.legend(figure, looks, points=True, more=[ring])
    return Drawn(figure, list(dict.fromkeys(keys)), data)


def _of(row: Row) -> Setting:
    return row["dataset"], row["model"]


def _panel(ax: Axes, tables: Tables, rows: list[Row], deep: Configuration | None) -> dict[str, Any]:
    x_column, y_column = tables.column("q_bar", rows), tables.column("accuracy", rows)
    rows = [row for row in rows if row[x_column] is not None and row[y_column] is not None]
    if not rows:
        raise Missing(f"no such trial has both {x_column} and {y_column}")
    xs, ys = [row[x_column] for row in rows], [row[y_column] for row in rows]
    lines = _deep_lines(ax, tables, deep)
    floor = _floor(ys, lines)
    names = [row["construction"] for row in rows]
    for name, look in style.looks(tables).items():
        at = [i for i, other in enumerate(names) if other == name and ys[i] >= floor]
        marks = {"s": 30, "c": look.colour, "marker": look.marker, "alpha": 0.65, "lw": 0.4, "ec": "white"}
        ax.scatter([xs[i] for i in at], [ys[i] for i in at], zorder=3, **marks)
    front = [i for i in _front(tables, rows) if ys[i] >= floor]
    ax.scatter([xs[i] for i in front], [ys[i] for i in front], s=62, fc="none", ec=style.GREY, lw=0.9, zorder=4)
    step = [front[i] for i in pareto_front([(xs[i], ys[i]) for i in front])]
    ax.step([xs[i] for i in step], [ys[i] for i in step], where="pre", c=style.GREY, lw=1.1, zorder=2)
    style.connectivity_axis(ax, xs)
    _y_axis(ax, ys, floor, lines)
    ax.set_xlabel(style.label(tables, x_column, rf"{tables.split} connectivity $\bar{{q}}$"))
    ax.set_ylabel(style.label(tables, y_column, f"{tables.split} accuracy of the ensemble"))
    key = [row["key"] for row in rows]
    points = {"key": key, "construction": names, x_column: xs, y_column: ys}
    return points | {"front": [key[i] for i in step], "deep": lines}


def _front(tables: Tables, rows: list[Row]) -> list[int]:
    """Indices on the validation front: choosing on the reported split would flatter the front."""
    x_column, y_column = (tables.column(metric, rows, "val") for metric in ("q_bar", "accuracy"))
    able = [index for index, row in enumerate(rows) if row[x_column] is not None and row[y_column] is not None]
    return [able[i] for i in pareto_front([(rows[index][x_column], rows[index][y_column]) for index in able])]


def _deep_lines(ax: Axes, tables: Tables, deep: Configuration | None) -> dict[str, float]:
    """Horizontal lines of the deep ensemble and its members, named at the right edge; the means by metric."""
    found = {}
    for metric in ("accuracy", "member_mean_accuracy", "q_bar") if deep else ():
        with contextlib.suppress(Missing):
            found[metric] = mean_interval(deep.by_seed(tables.column(metric, deep.rows)).values()).mean
    q_bar = rf", $\bar{{q}}$ = {signed(found['q_bar'], 1)}" if "q_bar" in found else ""
    lines = [("accuracy", (0, (5, 3)), "deep ensemble", q_bar, "bottom")]
    lines += [("member_mean_accuracy", (0, (1, 2)), "its mean member", "", "top")]
    where = {"xytext": (4, 0), "textcoords": "offset points", "xycoords": ax.get_yaxis_transform(), "fontsize": 7.5}
    for metric, dash, name, more, side in lines:
        if metric in found:
            ax.axhline(found[metric], color=style.KNOWN["deep"].colour, ls=dash, lw=1.2, zorder=1)
            ax.annotate(f"{name}\n{found[metric]:.1f} %{more}", (1, found[metric]), va=side, **where)
    return found


def _floor(ys: list[float], lines: dict[str, float]) -> float:
    """Lowest accuracy drawn: failed trials (Tukey's far outliers) must not flatten the others into one line."""
    low, high = np.percentile(ys, [25, 75])
    kept = [y for y in ys if y >= low - 3 * max(high - low, 0.5)]
    return min([*kept, *(value for name, value in lines.items() if name != "q_bar")])


def _y_axis(ax: Axes, ys: list[float], floor: float, lines: dict[str, float]) -> None:
    top = max([*ys, *(value for name, value in lines.items() if name != "q_bar")])
    pad = 0.07 * max(top - floor, 1.0)
    ax.set_ylim(floor - 1.5 * pad, top + pad)
    hidden = sum(y < floor for y in ys)
    if hidden:
        words = f"{hidden} trial{'s' if hidden > 1 else ''} below the frame, down to {min(ys):.0f} %"
        ax.annotate(words, (0.01, 0.015), xycoords="axes fraction", fontsize=7.5, color=style.GREY)
