"""Diversity against connectivity."""

from itertools import chain
from typing import Any

from matplotlib.axes import Axes

from analysis.data.queries import Row, Setting, Tables
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn

TITLE = "Diversity against connectivity"
QUESTION = "How diverse are the members?"
WHAT = (
    "Every finished trial: mean chord excess q̄ (0 = perfectly connected) against the disagreement of two members, "
    "normalised by the error of the ensemble (Fort 2019), so that weak members do not count as diverse. Ensembles "
    "without errors are left out."
)
NEEDS = "quickstart"
MOST = 3000
"""Maximum number of points per construction and panel; of more, every n-th by key is drawn."""


def draw(tables: Tables) -> Drawn:
    """Draw one panel per (dataset, model)."""
    panels: dict[Setting, list[Row]] = {}
    for setting in tables.settings:
        rows = [row for row in tables.rows if (row["dataset"], row["model"]) == setting]
        try:
            x, y = tables.column("q_bar", rows), tables.column("normalised_disagreement", rows)
        except Missing:
            continue
        panels[setting] = [row for row in rows if row[x] is not None and row[y] is not None]
    panels = {setting: rows for setting, rows in panels.items() if rows}
    if not panels:
        raise Missing(f"no finished trial has q̄ and normalised disagreement on the {tables.split} split")
    figure, axes = style.panels(len(panels), columns=2, width=4.8, height=3.3)
    data: dict[str, Any] = {}
    for ax, (setting, rows) in zip(axes, panels.items(), strict=True):
        data["/".join(setting)] = _draw_panel(ax, tables, rows)
        ax.set_title(" · ".join(setting))
    drawn = list(chain.from_iterable(panels.values()))
    names = {row["construction"] for row in drawn}
    style.draw_legend(figure, {n: look for n, look in style.looks(tables).items() if n in names}, points=True)
    return Drawn(figure, [row["key"] for row in drawn], data)


def _draw_panel(ax: Axes, tables: Tables, rows: list[Row]) -> dict[str, Any]:
    x, y = tables.column("q_bar", rows), tables.column("normalised_disagreement", rows)
    shown: dict[str, Any] = {}
    for name, look in style.looks(tables).items():
        drawn = [row for row in rows if row["construction"] == name]
        drawn = drawn[:: -(-len(drawn) // MOST) or 1]
        style.draw_points(ax, look, [row[x] for row in drawn], [row[y] for row in drawn], size=28)
        if drawn:
            shown[name] = {"key": [r["key"] for r in drawn], x: [r[x] for r in drawn], y: [r[y] for r in drawn]}
    style.connectivity_axis(ax, [row[x] for row in rows])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(style.axis_label(tables, x, rf"{tables.split} connectivity $\bar{{q}}$"))
    ax.set_ylabel(f"{tables.split} disagreement / error of the ensemble")
    return shown
