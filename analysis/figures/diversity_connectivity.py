"""Diversity against connectivity: whether members in one basin can still disagree."""

from typing import Any

from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.queries import Row, Setting, Tables
from analysis.registry import Drawn

TITLE = "Diversity against connectivity"
WHAT = (
    "Every finished trial: mean chord excess q̄ (0 = perfectly connected) against the share of images on which two "
    "members disagree, over the share on which the ensemble is wrong (Fort 2019), so that worse members do not pass "
    "for more diverse ones. Ensembles without an error have no ratio and are left out."
)
NEEDS = "python launch.py sweep {sweep}"
MOST = 3000
"""Points drawn a construction and panel; beyond, every n-th by key."""


def draw(tables: Tables) -> Drawn:
    """One panel a (dataset, model)."""
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
        raise Missing(f"no finished trial has q_bar and normalised_disagreement on the {tables.split} split")
    figure, axes = style.panels(len(panels), columns=2, width=4.8, height=3.3)
    data: dict[str, Any] = {}
    for ax, (setting, rows) in zip(axes, panels.items(), strict=True):
        data["/".join(setting)] = _panel(ax, tables, rows)
        ax.set_title(" · ".join(setting))
    names = {row["construction"] for rows in panels.values() for row in rows}
    style.legend(figure, {n: look for n, look in style.looks(tables).items() if n in names}, points=True)
    return Drawn(figure, [row["key"] for rows in panels.values() for row in rows], data)


def _panel(ax: Axes, tables: Tables, rows: list[Row]) -> dict[str, Any]:
    x, y = tables.column("q_bar", rows), tables.column("normalised_disagreement", rows)
    shown: dict[str, Any] = {}
    for name, look in style.looks(tables).items():
        own = [row for row in rows if row["construction"] == name]
        own = own[:: -(-len(own) // MOST) or 1]
        marks = {"s": 28, "color": look.colour, "marker": look.marker, "alpha": 0.65, "lw": 0.4, "ec": "white"}
        ax.scatter([row[x] for row in own], [row[y] for row in own], zorder=3, **marks)
        if own:
            shown[name] = {"key": [r["key"] for r in own], x: [r[x] for r in own], y: [r[y] for r in own]}
    style.connectivity_axis(ax, [row[x] for row in rows])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(style.label(tables, x, rf"{tables.split} connectivity $\bar{{q}}$"))
    ax.set_ylabel(f"{tables.split} disagreement / error of the ensemble")
    return shown
