"""Effect of sharing a trunk for longer (Figure 5 of Lion et al. 2024)."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    configuration_families,
    deep_reference,
    estimate_metric,
    grid_cells,
    keys_of,
    rows_of,
)
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from analysis.tables import constraint_strength

TITLE = "The time parameter"
QUESTION = "What does connectivity cost?"
WHAT = (
    "Branches that share one trunk for the fraction t of the budget, a line per constraint strength β (0: none): mean "
    "over seeds; shading: 95 % interval. Grey, dashed: the deep ensemble. Vertical dashes, where drawn: values of t in "
    "the table of constraint strength."
)
NEEDS = "time-parameter"

PANELS = (
    ("accuracy", "accuracy of the ensemble"),
    ("nll", "NLL of the ensemble"),
    ("member_mean_accuracy", "accuracy of a member, mean"),
    ("q_bar", r"connectivity $\bar{q}$"),
)
LINES = 4
"""Maximum number of constraint strengths drawn; the smallest and the largest are among them."""


def draw(tables: Tables) -> Drawn:
    """Draw a row of four panels per (dataset, model), with one line per constraint strength."""
    by_setting: dict[Setting, dict[float, list[Configuration]]] = {}
    for setting, family in configuration_families(tables, "constrained", ["t", "beta"]).items():
        lines: dict[float, list[Configuration]] = {}
        for (_, beta), configuration in grid_cells(family, "t", "beta", 1).items():
            lines.setdefault(beta, []).append(configuration)
        longest = max(map(len, lines.values()), default=0)
        if longest > 2:
            by_setting[setting] = {beta: line for beta, line in sorted(lines.items()) if len(line) >= longest / 2}
    if not by_setting:
        raise Missing("no constraint strength has three values of t")
    figure, axes = style.panels(4 * len(by_setting), columns=2, width=4.3, height=2.6)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for index, (setting, lines) in enumerate(by_setting.items()):
        lines = {beta: lines[beta] for beta in _pick_strengths(list(lines))}
        panels = axes[4 * index : 4 * index + 4]
        data["/".join(setting)] = {
            metric: _draw_panel(ax, tables, lines, metric, words, setting)
            for ax, (metric, words) in zip(panels, PANELS, strict=True)
        }
        panels[0].set_title(" · ".join(setting))
        keys += keys_of(chain.from_iterable(lines.values()))
        _draw_legend(panels[0], list(lines))
    return Drawn(figure, keys, data)


def _pick_strengths(betas: Sequence[float]) -> list[float]:
    if len(betas) <= LINES:
        return list(betas)
    return [betas[round(i * (len(betas) - 1) / (LINES - 1))] for i in range(LINES)]


def _draw_panel(
    ax: Axes, tables: Tables, lines: dict[float, list[Configuration]], metric: str, words: str, setting: Setting
) -> dict[str, Any]:  # fmt: skip
    shown: dict[str, Any] = {}
    for index, (beta, line) in enumerate(lines.items()):
        points = [(c.hyperparameters["t"], at) for c in line if (at := estimate_metric(tables, c, metric)) is not None]
        ts, means = [t for t, _ in points], np.array([at.mean for _, at in points])
        halves, shade = np.array([at.half or 0.0 for _, at in points]), _line_shade(index, len(lines))
        ax.fill_between(ts, means - halves, means + halves, color=shade, alpha=0.18, lw=0)
        ax.plot(ts, means, color=shade, marker="o", ms=3.5)
        shown[f"{beta:g}"] = {"t": ts, "mean": means.tolist(), "half": halves.tolist()}
    deep = deep_reference(tables, next(iter(lines.values()))[0])
    level = deep and estimate_metric(tables, deep, metric)
    if level and metric != "q_bar":
        ax.axhline(level.mean, color=style.GREY, ls=(0, (5, 3)), lw=1.0, zorder=1)
        shown["deep"] = level.mean
    for t in constraint_strength.table_times(tables, setting):
        ax.axvline(t, color=style.GREY, ls=(0, (2, 3)), lw=0.8, zorder=1)
    column = tables.column(metric, rows_of(chain.from_iterable(lines.values())))
    if metric == "q_bar" and min(min(s["mean"]) for name, s in shown.items() if name != "deep") < -3:
        drawn = ax.dataLim
        style.points_axis(ax.yaxis, 1.3 * drawn.ymin, max(1.3 * drawn.ymax, 0.8))
    ax.set_xlabel("time parameter t (fraction of the budget)")
    ax.set_ylabel(style.axis_label(tables, column, words))
    return shown


def _line_shade(index: int, count: int) -> tuple[float, float, float]:
    """Return the colour of `constrained`, darker for stronger constraints."""
    return style.mix_with_white(style.KNOWN["constrained"].colour, 0.55 * (1 - (index + 1) / count))


def _draw_legend(ax: Axes, betas: Sequence[float]) -> None:
    handles = [Line2D([], [], color=_line_shade(i, len(betas)), label=f"β = {beta:g}") for i, beta in enumerate(betas)]
    handles.append(Line2D([], [], color=style.GREY, ls=(0, (5, 3)), lw=1.0, label="deep"))
    ax.legend(handles=handles, loc="best", fontsize=7.5, frameon=True, framealpha=0.8, edgecolor="none")
