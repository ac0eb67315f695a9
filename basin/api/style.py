"""House style of every figure of the project: colours, looks, fonts and scales. Matplotlib is imported when drawing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # the tests look up every annotation
    Axes = Figure = Any

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


RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
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
    """Return the context in which figures are drawn and saved."""
    import matplotlib

    return matplotlib.rc_context(RC)


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, made without pyplot's global state; sizes of one panel in inches."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.3), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def mix_with_white(colour: str, white: float) -> tuple[float, float, float]:
    """Mix a colour with a share of white."""
    import matplotlib.colors

    red, green, blue = matplotlib.colors.to_rgb(colour)
    return red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue)
