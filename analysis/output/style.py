"""House style of the figures: one look per construction, editable text in vector files, labels with units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.constructions import LISTED, order
from analysis.data.queries import Tables
from basin.api.style import GREEN, GREY, RC, SKY, YELLOW, Look, house_style, mix_with_white, panels

__all__ = ["GREY", "RC", "house_style", "mix_with_white", "panels"]

KNOWN = {name: facts.look for name, facts in LISTED.items() if facts.look}
"""Looks of the listed constructions."""
FREE = [Look(GREEN, "P"), Look(SKY, "X"), Look(YELLOW, "*")]
DASHES = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))]


def looks(tables: Tables) -> dict[str, Look]:
    """Return the look of every construction in the results: fixed for listed ones, the next free one for others."""
    names = order(tables.constructions)
    unknown = [name for name in names if name not in KNOWN]
    chosen = {name: KNOWN[name] for name in names if name in KNOWN}
    for index, name in enumerate(unknown):
        look = FREE[index % len(FREE)]
        chosen[name] = Look(look.colour, look.marker, DASHES[index // len(FREE) % len(DASHES)])
    return chosen


def fix_layout(figure: Figure) -> None:
    """Arrange a figure once, at the resolution of its files; each file would otherwise draw it twice."""
    engine, dpi = figure.get_layout_engine(), figure.dpi
    if engine:
        figure.dpi = RC["savefig.dpi"]
        engine.execute(figure)
        figure.dpi = dpi
        figure.set_layout_engine(None)


def rasterise(figure: Figure) -> np.ndarray:
    """Draw a figure at the resolution of its files; return its pixels [height, width, RGBA], uint8."""
    canvas, dpi = FigureCanvasAgg(figure), figure.dpi
    figure.dpi = RC["savefig.dpi"]
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.dpi = dpi
    return np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]


def draw_points(ax: Axes, look: Look, xs: Sequence[float], ys: Sequence[float], *, size: float) -> None:
    """Draw the trials or configurations of one construction."""
    ax.scatter(xs, ys, s=size, c=look.colour, marker=look.marker, alpha=0.65, lw=0.4, ec="white", zorder=3)


def points_axis(axis: Any, low: float, high: float) -> None:
    """Scale an axis of accuracy points: linear between -1 and 1, logarithmic beyond."""
    side = axis.axis_name
    axis.axes.set(**{f"{side}scale": "symlog", f"{side}lim": (low, high)})
    halves = [-0.5, 0.5] if high - low < 15 else []  # beside ±1 there is no room for them
    axis.set_major_locator(FixedLocator(sorted([-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, *halves])))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_locator(NullLocator())


def connectivity_axis(ax: Axes, values: Sequence[float]) -> None:
    """Scale an x axis of q̄, as `points_axis` does if values go beyond 3 points, and draw a line at 0."""
    left, right = min(*values, -0.5), max(*values, 0.0)
    if left < -3 or right > 3:
        points_axis(ax.xaxis, left * 1.25, max(right * 1.25, 0.3))
    else:
        pad = 0.05 * (right - left)
        ax.set_xlim(left - pad, right + pad)
    ax.axvline(0, color=GREY, lw=0.6, zorder=1)


def axis_label(tables: Tables, column: str, words: str) -> str:
    """Return `words (unit)` with the unit from the column's metadata."""
    unit = tables.unit(column)
    return f"{words} ({unit})" if unit not in ("", "1") else words


def draw_legend(figure: Figure, looks: Mapping[str, Look], *, points: bool, more: Sequence[Artist] = ()) -> None:
    """Draw the legend above all panels: markers for point clouds, lines otherwise, then the handles `more`."""
    handles: list[Artist] = []
    for name, look in looks.items():
        marks: dict[str, Any] = {"marker": look.marker, "ls": ""} if points else {"ls": look.dash}
        handles.append(Line2D([], [], color=look.colour, label=name, **marks))
    columns = max(int(figure.get_figwidth() / 0.95), 1)  # about an inch a name
    spacing = {"handletextpad": 0.5, "columnspacing": 1.3, "handlelength": 1.6}
    figure.legend(handles=[*handles, *more], loc="outside upper left", ncols=columns, **spacing)
