"""Accuracy and connectivity by constraint strength and distillation temperature, with the Pareto front."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.answers.words import signed
from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    configuration_families,
    grid_cells,
    keys_of,
    mean_metric,
    on_front,
    rows_of,
)
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from stats.outliers import far_fence

TITLE = "Constraint strength β and distillation temperature τ"
QUESTION = "Does distillation give it back?"
WHAT = (
    "Distilled ensembles that differ only in β and τ: accuracy of the ensemble (left) and connectivity q̄ (right), "
    "mean over seeds. Framed: on the validation front of all configurations, with q̄ above 0 counted as 0. A grid is "
    "drawn as a map; trials of a search, which also differ in t and λ, as points, with β = 0 at the left edge."
)
NEEDS = "tradeoff"
FRAME = "#D55E00"


def draw(tables: Tables) -> Drawn:
    """Draw a row of two panels per (dataset, model)."""
    by_setting = _grid_maps(tables) or _search_clouds(tables)
    if not by_setting:
        raise Missing("no distilled trials that differ in β and τ have accuracy and q̄")
    figure, axes = style.panels(2 * len(by_setting), columns=2, width=4.6, height=3.4)
    data: dict[str, Any] = {}
    for left, right, (setting, configurations) in zip(axes[::2], axes[1::2], by_setting.items(), strict=True):
        cells = grid_cells(configurations, "beta", "temperature")
        best = on_front(tables, configurations)
        shown: dict[str, Any] = {"front": [configurations[i].keys for i in best]}
        for ax, metric, words in ((left, "accuracy", "accuracy"), (right, "q_bar", r"$\bar{q}$")):
            means = [mean_metric(tables, configuration, metric) for configuration in configurations]
            paint = _draw_map if cells else _draw_cloud
            paint(figure, ax, configurations, means, best, label=_value_label(tables, configurations, metric, words))
            shown[metric] = means
        shown |= {axis: [c.hyperparameters[axis] for c in configurations] for axis in ("beta", "temperature")}
        left.set_title(" · ".join(setting))
        data["/".join(setting)] = shown
    return Drawn(figure, keys_of(chain.from_iterable(by_setting.values())), data)


def _grid_maps(tables: Tables) -> dict[Setting, list[Configuration]]:
    try:
        by_setting = configuration_families(tables, "distilled", ["beta", "temperature"])
    except Missing:
        return {}
    maps = {setting: list(grid_cells(family, "beta", "temperature").values()) for setting, family in by_setting.items()}
    return {setting: cells for setting, cells in maps.items() if cells}


def _search_clouds(tables: Tables) -> dict[Setting, list[Configuration]]:
    try:
        families = configuration_families(tables, "distilled", ["beta", "temperature", "t", "weight"])
    except Missing:
        return {}
    clouds = {}
    for setting, family in families.items():
        scored = [c for c in family if _has_scores(tables, c)]
        if len(scored) > 2 and _both_vary(scored):
            clouds[setting] = scored
    return clouds


def _has_scores(tables: Tables, configuration: Configuration) -> bool:
    return None not in (mean_metric(tables, configuration, metric) for metric in ("accuracy", "q_bar"))


def _both_vary(family: Sequence[Configuration]) -> bool:
    """Tell whether both axes vary; along one alone, points that differ in t and λ would overlap."""
    return all(len({c.hyperparameters[axis] for c in family}) > 1 for axis in ("beta", "temperature"))


def _value_label(tables: Tables, configurations: Sequence[Configuration], metric: str, words: str) -> str:
    column = tables.column(metric, rows_of(configurations))
    return style.axis_label(tables, column, f"{tables.split} {words}")


def _draw_map(
    figure: Figure, ax: Axes, cells: Sequence[Configuration], means: Sequence[float | None], best: Sequence[int], *,
    label: str,
) -> None:  # fmt: skip
    betas, temperatures = (sorted({c.hyperparameters[axis] for c in cells}) for axis in ("beta", "temperature"))
    values = np.full((len(temperatures), len(betas)), np.nan)
    for index, (cell, value) in enumerate(zip(cells, means, strict=True)):
        row, column = temperatures.index(cell.hyperparameters["temperature"]), betas.index(cell.hyperparameters["beta"])
        values[row, column] = np.nan if value is None else value
        if index in best:
            ax.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, ec=FRAME, lw=2.2, zorder=4))
    drawn = ax.imshow(values, cmap="cividis", origin="lower", aspect="auto")
    digits = 1 if np.nanmax(values) - np.nanmin(values) > 1 else 2
    shades = np.asarray(drawn.norm(values), dtype=float)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "w" if shades[row, column] < 0.5 else "k"
            ax.text(column, row, signed(value, digits), ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    ax.set_yticks(range(len(temperatures)), [f"{temperature:g}" for temperature in temperatures])
    ax.grid(visible=False)
    _finish_panel(figure, ax, drawn, label)


def _draw_cloud(
    figure: Figure, ax: Axes, points: Sequence[Configuration], means: Sequence[float | None], best: Sequence[int], *,
    label: str,
) -> None:  # fmt: skip
    betas = np.array([c.hyperparameters["beta"] for c in points], dtype=float)
    betas[betas == 0] = betas[betas > 0].min(initial=1.0) / 3
    temperatures = np.array([c.hyperparameters["temperature"] for c in points], dtype=float)
    values = np.array(means, dtype=float)
    fence = far_fence(values, least=0.5)
    floor = min(v for v in values if v >= fence)  # outliers must not take all the colours
    norm = matplotlib.colors.Normalize(floor, max(values.max(), floor + 1e-6))
    drawn = ax.scatter(betas, temperatures, c=values, s=52, cmap="cividis", norm=norm, ec="white", lw=0.5, zorder=3)
    ax.scatter(betas[best], temperatures[best], s=96, fc="none", ec=FRAME, lw=1.8, zorder=4)
    ax.set(xscale="log", yscale="log")
    plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(plain)
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    _finish_panel(figure, ax, drawn, label)


def _finish_panel(figure: Figure, ax: Axes, drawn: Any, label: str) -> None:
    figure.colorbar(drawn, ax=ax, label=label)
    ax.set_xlabel("constraint strength β")
    ax.set_ylabel("temperature τ")
