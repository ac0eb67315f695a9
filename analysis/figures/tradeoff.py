"""Constraint strength against distillation temperature: what each combination reaches, and the front among them."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, estimate, families, grid
from analysis.registry import Drawn
from analysis.statistics import pareto_front, signed

TITLE = "Constraint strength β and distillation temperature τ"
WHAT = (
    "Distilled ensembles that differ in β and τ alone: accuracy of the ensemble (left) and connectivity q̄ (right), "
    "mean over seeds. Framed: configurations that no other beats in both on validation (the Pareto front). A grid is "
    "drawn as a map; trials of a search, which also differ in t and λ, as points, β = 0 at the left edge."
)
NEEDS = "python launch.py sweep tradeoff"
FRAME = "#D55E00"


def draw(tables: Tables) -> Drawn:
    """A row of two panels a (dataset, model)."""
    found = _maps(tables) or _clouds(tables)
    if not found:
        raise Missing("no distilled trials that differ in β and τ have accuracy and q̄")
    figure, axes = style.panels(2 * len(found), columns=2, width=4.6, height=3.4)
    data: dict[str, Any] = {}
    for left, right, (setting, configurations) in zip(axes[::2], axes[1::2], found.items(), strict=True):
        cells = grid(configurations, "beta", "temperature")
        front = _front(tables, configurations)
        shown: dict[str, Any] = {"front": [configurations[i].keys for i in front]}
        for ax, metric, words in ((left, "accuracy", "accuracy"), (right, "q_bar", r"$\bar{q}$")):
            means = [_mean(tables, configuration, metric) for configuration in configurations]
            paint = _map if cells else _cloud
            paint(figure, ax, configurations, means, front, label=_label(tables, configurations, metric, words))
            shown[metric] = means
        shown |= {axis: [c.hyperparameters[axis] for c in configurations] for axis in ("beta", "temperature")}
        left.set_title(" · ".join(setting))
        data["/".join(setting)] = shown
    return Drawn(figure, [key for some in found.values() for c in some for key in c.keys], data)


def _maps(tables: Tables) -> dict[Setting, list[Configuration]]:
    try:
        found = families(tables, "distilled", ["beta", "temperature"])
    except Missing:
        return {}
    maps = {setting: list(grid(family, "beta", "temperature").values()) for setting, family in found.items()}
    return {setting: cells for setting, cells in maps.items() if cells}


def _clouds(tables: Tables) -> dict[Setting, list[Configuration]]:
    try:
        found = families(tables, "distilled", ["beta", "temperature", "t", "weight"])
    except Missing:
        return {}
    able = {
        setting: [c for c in family if None not in (_mean(tables, c, "accuracy"), _mean(tables, c, "q_bar"))]
        for setting, family in found.items()
    }
    return {setting: family for setting, family in able.items() if len(family) > 2 and _spread(family)}


def _spread(family: Sequence[Configuration]) -> bool:
    """Whether both axes vary; on one alone, what differs in t and λ would lie on one another."""
    return all(len({c.hyperparameters[axis] for c in family}) > 1 for axis in ("beta", "temperature"))


def _mean(tables: Tables, configuration: Configuration, metric: str, split: str | None = None) -> float | None:
    found = estimate(tables, configuration, metric, split)
    return found.mean if found else None


def _front(tables: Tables, configurations: Sequence[Configuration]) -> list[int]:
    points = [[_mean(tables, c, metric, "val") for metric in ("q_bar", "accuracy")] for c in configurations]
    able = [i for i, point in enumerate(points) if None not in point]
    return [able[i] for i in pareto_front([(points[index][0], points[index][1]) for index in able])]


def _label(tables: Tables, configurations: Sequence[Configuration], metric: str, words: str) -> str:
    column = tables.column(metric, [row for c in configurations for row in c.rows])
    return style.label(tables, column, f"{tables.split} {words}")


def _map(
    figure: Figure, ax: Axes, cells: Sequence[Configuration], means: Sequence[float | None], front: Sequence[int], *,
    label: str,
) -> None:  # fmt: skip
    betas, temperatures = (sorted({c.hyperparameters[axis] for c in cells}) for axis in ("beta", "temperature"))
    values = np.full((len(temperatures), len(betas)), np.nan)
    for index, (cell, mean) in enumerate(zip(cells, means, strict=True)):
        row, column = temperatures.index(cell.hyperparameters["temperature"]), betas.index(cell.hyperparameters["beta"])
        values[row, column] = np.nan if mean is None else mean
        if index in front:
            ax.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, ec=FRAME, lw=2.2, zorder=4))
    drawn = ax.imshow(values, cmap="cividis", origin="lower", aspect="auto")
    digits = 1 if np.nanmax(values) - np.nanmin(values) > 1 else 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = drawn.norm(value) < 0.5
            ax.text(
                column, row, signed(value, digits), ha="center", va="center", fontsize=8, color="w" if dark else "k"
            )
    ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    ax.set_yticks(range(len(temperatures)), [f"{temperature:g}" for temperature in temperatures])
    ax.grid(visible=False)
    _finish(figure, ax, drawn, label)


def _cloud(
    figure: Figure, ax: Axes, points: Sequence[Configuration], means: Sequence[float | None], front: Sequence[int], *,
    label: str,
) -> None:  # fmt: skip
    betas = np.array([c.hyperparameters["beta"] for c in points], dtype=float)
    betas[betas == 0] = betas[betas > 0].min(initial=1.0) / 3
    temperatures = np.array([c.hyperparameters["temperature"] for c in points], dtype=float)
    values = np.array(means, dtype=float)
    low, high = np.percentile(values, [25, 75])
    floor = min(v for v in values if v >= low - 3 * max(high - low, 0.5))  # failed trials must not take all the colours
    norm = matplotlib.colors.Normalize(floor, max(values.max(), floor + 1e-6))
    drawn = ax.scatter(betas, temperatures, c=values, s=52, cmap="cividis", norm=norm, ec="white", lw=0.5, zorder=3)
    ax.scatter(betas[front], temperatures[front], s=96, fc="none", ec=FRAME, lw=1.8, zorder=4)
    ax.set(xscale="log", yscale="log")
    plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(plain)
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    _finish(figure, ax, drawn, label)


def _finish(figure: Figure, ax: Axes, drawn: Any, label: str) -> None:
    figure.colorbar(drawn, ax=ax, label=label)
    ax.set_xlabel("constraint strength β")
    ax.set_ylabel("temperature τ")
