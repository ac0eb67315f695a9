"""What sharing a trunk for longer does (Figure 5 of Lion et al. 2024)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, estimate, families, grid, reference
from analysis.registry import Drawn
from analysis.tables import constraint_strength

TITLE = "The time parameter"
WHAT = (
    "Branches of one trunk, which they share for the fraction t of the budget, with and without a constraint: mean "
    "over seeds, shading the 95 % t interval. Grey, dashed: the deep ensemble. Vertical dashes: the t of the table of "
    "constraint strength, where the results have one."
)
NEEDS = "python launch.py sweep time-parameter"

PANELS = (
    ("accuracy", "accuracy of the ensemble"),
    ("nll", "NLL of the ensemble"),
    ("member_mean_accuracy", "accuracy of a member, mean"),
    ("q_bar", r"connectivity $\bar{q}$"),
)
LINES = 4
"""Constraint strengths drawn at most, the smallest and the largest among them."""


def draw(tables: Tables) -> Drawn:
    """A row of four panels a (dataset, model), one line a constraint strength."""
    found: dict[Setting, dict[float, list[Configuration]]] = {}
    for setting, family in families(tables, "constrained", ["t", "beta"]).items():
        lines: dict[float, list[Configuration]] = {}
        for (_, beta), configuration in grid(family, "t", "beta", 1).items():
            lines.setdefault(beta, []).append(configuration)
        longest = max(map(len, lines.values()), default=0)
        if longest > 2:
            found[setting] = {beta: line for beta, line in sorted(lines.items()) if len(line) >= longest / 2}
    if not found:
        raise Missing("no constraint strength has three values of t")
    figure, axes = style.panels(4 * len(found), columns=2, width=4.3, height=2.6)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for index, (setting, lines) in enumerate(found.items()):
        lines = {beta: lines[beta] for beta in _some(list(lines))}
        panels = axes[4 * index : 4 * index + 4]
        data["/".join(setting)] = {
            metric: _panel(ax, tables, lines, metric, words, setting)
            for ax, (metric, words) in zip(panels, PANELS, strict=True)
        }
        panels[0].set_title(" · ".join(setting))
        keys += [key for line in lines.values() for configuration in line for key in configuration.keys]
        _legend(panels[0], list(lines))
    return Drawn(figure, keys, data)


def _some(betas: Sequence[float]) -> list[float]:
    if len(betas) <= LINES:
        return list(betas)
    return [betas[round(i * (len(betas) - 1) / (LINES - 1))] for i in range(LINES)]


def _panel(
    ax: Axes, tables: Tables, lines: dict[float, list[Configuration]], metric: str, words: str, setting: Setting
) -> dict[str, Any]:  # fmt: skip
    shown: dict[str, Any] = {}
    for index, (beta, line) in enumerate(lines.items()):
        points = [(c.hyperparameters["t"], found) for c in line if (found := estimate(tables, c, metric)) is not None]
        ts, means = [t for t, _ in points], np.array([found.mean for _, found in points])
        halves, shade = np.array([found.half or 0.0 for _, found in points]), _shade(index, len(lines))
        ax.fill_between(ts, means - halves, means + halves, color=shade, alpha=0.18, lw=0)
        ax.plot(ts, means, color=shade, marker="o", ms=3.5)
        shown[f"{beta:g}"] = {"t": ts, "mean": means.tolist(), "half": halves.tolist()}
    deep = reference(tables, next(iter(lines.values()))[0])
    level = deep and estimate(tables, deep, metric)
    if level and metric != "q_bar":
        ax.axhline(level.mean, color=style.GREY, ls=(0, (5, 3)), lw=1.0, zorder=1)
        shown["deep"] = level.mean
    for t in constraint_strength.times(tables, setting):
        ax.axvline(t, color=style.GREY, ls=(0, (2, 3)), lw=0.8, zorder=1)
    column = tables.column(metric, [row for line in lines.values() for c in line for row in c.rows])
    if metric == "q_bar" and min(min(s["mean"]) for name, s in shown.items() if name != "deep") < -3:
        drawn = ax.dataLim
        style.points_axis(ax.yaxis, 1.3 * drawn.ymin, max(1.3 * drawn.ymax, 0.8))
    ax.set_xlabel("time parameter t (fraction of the budget)")
    ax.set_ylabel(style.label(tables, column, words))
    return shown


def _shade(index: int, count: int) -> tuple[float, float, float]:
    """The colour of `constrained`, the darker the stronger the constraint."""
    return style.tint(style.KNOWN["constrained"].colour, 0.55 * (1 - (index + 1) / count))


def _legend(ax: Axes, betas: Sequence[float]) -> None:
    handles = [Line2D([], [], color=_shade(i, len(betas)), label=f"β = {beta:g}") for i, beta in enumerate(betas)]
    handles.append(Line2D([], [], color=style.GREY, ls=(0, (5, 3)), lw=1.0, label="deep"))
    ax.legend(handles=handles, loc="best", fontsize=7.5, frameon=True, framealpha=0.8, edgecolor="none")
