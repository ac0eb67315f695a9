"""The house style: one look for one construction everywhere, editable text in vector files, labels with units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.colors
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.queries import Tables

# Okabe & Ito (2008), "Color Universal Design"; yellow last, since it is faint on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, YELLOW = "#0072B2", "#D55E00", "#CC79A7", "#F0E442"
GREY = "#6B6B6B"


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash of one construction."""

    colour: str
    marker: str
    dash: Any = "-"


KNOWN = {
    "deep": Look(BLACK, "s"),
    "swe": Look(ORANGE, "^"),
    "constrained": Look(BLUE, "o"),
    "permuted": Look(PURPLE, "v"),
    "distilled": Look(VERMILLION, "D"),
}
FREE = [Look(GREEN, "P"), Look(SKY, "X"), Look(YELLOW, "*")]
DASHES = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))]

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "single-basin",  # the same data make the same file
}


def house_style() -> Any:
    """Context in which figures are both drawn and saved."""
    return matplotlib.rc_context(RC)


def order(constructions: Iterable[str]) -> list[str]:
    """Known constructions in their fixed order, then the others by name."""
    names = set(constructions)
    return [name for name in KNOWN if name in names] + sorted(names - KNOWN.keys())


def looks(tables: Tables) -> dict[str, Look]:
    """The look of every construction in the results: fixed for known names, the next free one for others."""
    names = order(tables.constructions)
    unknown = [name for name in names if name not in KNOWN]
    chosen = {name: KNOWN[name] for name in names if name in KNOWN}
    for index, name in enumerate(unknown):
        look = FREE[index % len(FREE)]
        chosen[name] = Look(look.colour, look.marker, DASHES[index // len(FREE) % len(DASHES)])
    return chosen


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot (so nothing global is left open) and its axes; sizes of one panel in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.3))
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def points_axis(axis: Any, low: float, high: float) -> None:
    """An axis of accuracy points: linear between -1 and 1, logarithmic beyond, so that 0.3 and 60 both read."""
    side = axis.axis_name
    axis.axes.set(**{f"{side}scale": "symlog", f"{side}lim": (low, high)})
    halves = [-0.5, 0.5] if high - low < 15 else []  # beside ±1 there is no room for them
    axis.set_major_locator(FixedLocator(sorted([-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, *halves])))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_locator(NullLocator())


def connectivity_axis(ax: Axes, values: Sequence[float]) -> None:
    """An x axis of q̄: linear near 0, of accuracy points as `points_axis` does where it goes beyond 3; a line at 0."""
    left, right = min(*values, -0.5), max(*values, 0.0)
    if left < -3 or right > 3:
        points_axis(ax.xaxis, left * 1.25, max(right * 1.25, 0.3))
    else:
        pad = 0.05 * (right - left)
        ax.set_xlim(left - pad, right + pad)
    ax.axvline(0, color=GREY, lw=0.6, zorder=1)


def tint(colour: str, white: float) -> tuple[float, float, float]:
    """The colour mixed with a share of white."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue)


def label(tables: Tables, column: str, words: str) -> str:
    """`words (unit)`, the unit from the column's metadata."""
    unit = tables.unit(column)
    return f"{words} ({unit})" if unit not in ("", "1") else words


def legend(figure: Figure, looks: Mapping[str, Look], *, points: bool, more: Sequence[Artist] = ()) -> None:
    """Names above all panels: markers for point clouds, lines otherwise; then the handles `more`."""
    handles: list[Artist] = []
    for name, look in looks.items():
        marks = {"marker": look.marker, "ls": ""} if points else {"ls": look.dash}
        handles.append(Line2D([], [], color=look.colour, label=name, **marks))
    columns = max(int(figure.get_figwidth() / 1.05), 1)  # about an inch a name
    spacing = {"handletextpad": 0.5, "columnspacing": 1.3, "handlelength": 1.6}
    figure.legend(handles=[*handles, *more], loc="outside upper left", ncols=columns, **spacing)
