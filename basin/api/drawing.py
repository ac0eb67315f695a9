"""Drawings of paths and planes, shared by the library and the figures of sweeps. Nothing here imports PyTorch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from basin.api import style
from basin.api.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:  # the tests look up every annotation
    Axes = Any

Array = NDArray[Any]
LINES = (5, -13, 18, -26, 31, -39)
"""Offsets of a name above its vertex, in points, by preference."""
LOOK = Look(style.BLUE, "o")
"""Look of networks of one's own."""
UNITS = {"loss": "nats", "accuracy": "%"}


class Grid(Protocol):
    """Scores of networks in a plane."""

    @property
    def x(self) -> Array:
        """Coordinates [n], in units of weight."""
        ...

    @property
    def y(self) -> Array:
        """Coordinates [n]."""
        ...

    @property
    def accuracy(self) -> Array:
        """[n, n] (y, x), in percent."""
        ...

    @property
    def loss(self) -> Array:
        """[n, n] (y, x), in nats."""
        ...


def plot_paths(alphas: Array, accuracy: Array, policy: str = "", ax: Axes | None = None) -> Axes:
    """Draw accuracy [curves, A] along paths: each curve, their mean, and the chord between the ends of the mean."""
    with style.house_style():
        axes = ax or _new_axes(4.1, 2.9)
        if len(accuracy) > 1:
            axes.plot(alphas, accuracy[0], color=LOOK.colour, lw=0.7, alpha=0.45, label="one pair")
            axes.plot(alphas, accuracy[1:].T, color=LOOK.colour, lw=0.7, alpha=0.45)
        mean = accuracy.mean(axis=0)
        axes.plot(alphas, mean, color=LOOK.colour, label="mean of pairs" if len(accuracy) > 1 else "path")
        axes.plot([0, 1], mean[[0, -1]], color=style.GREY, lw=0.8, ls=(0, (5, 2)), label="chord")
        axes.set_ylabel("test accuracy (%)")
        axes.set_title(f"BatchNorm statistics: {policy}" if policy else "")
        axes.legend(fontsize=8)
        finish_alpha_axis(axes)
    return axes


def plot_plane(grid: Any, score: str, ax: Axes | None = None) -> Axes:
    """Draw contours of a `basin.PlaneGrid`, and its networks; hollow where they lie outside the plane."""
    with style.house_style():
        axes = ax or _new_axes(3.8, 2.9)
        drawn = draw_contours(axes, grid, score)
        label = f"test {score} ({UNITS[score]})"
        axes.figure.colorbar(drawn, ax=axes, label=label, format="%.3g", shrink=0.9)
        size = float(np.hypot(np.ptp(grid.x), np.ptp(grid.y)))
        for point in grid.points:
            if point.vertex is not None:
                outside = point.residual >= 1e-4 * size
                name = f"{point.vertex}, {point.residual:.3g} off" if outside else f"{point.vertex}"
                mark_vertex(axes, {"x": point.x, "y": point.y}, LOOK, name, hollow=outside)
        axes.set_xlabel("distance in weight space")
        axes.set_ylabel("distance in weight space")
    return axes


def _new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure of pyplot, which notebooks show; sizes in inches."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def finish_alpha_axis(ax: Axes) -> None:
    """Scale and label the axis of α."""
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    ax.set_xlabel("α")


def draw_contours(ax: Axes, plane: Grid, what: str) -> Any:
    """Draw filled contours of `accuracy` (equal steps) or `loss` (equal ratios); return the mappable."""
    values = getattr(plane, what)
    low, high = float(values.min()), float(values.max())
    if what == "loss":
        levels = np.geomspace(max(low, 1e-3), max(high, 1.001 * low, 2e-3), 13)
        drawn = ax.contourf(plane.x, plane.y, values, levels, cmap="cividis_r")
    else:
        levels = np.linspace(low, max(high, low + 1e-3), 13)
        drawn = ax.contourf(plane.x, plane.y, values, levels, cmap="cividis")
    ax.contour(plane.x, plane.y, values, levels[::3], colors="white", linewidths=0.5, alpha=0.7)
    shape = float(np.ptp(plane.y) / np.ptp(plane.x))
    ax.set_aspect("equal" if 0.4 < shape < 2.5 else "auto")  # snapshots of one run lie almost on a line
    ax.grid(visible=False)
    return drawn


def _text_extent(ax: Axes, at: tuple[float, float], name: str, side: str, line: float) -> tuple[float, float, float]:
    """Return left end, right end and height of a name in points, precise enough to detect overlaps."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    wide, high = (72 / ax.figure.dpi * size for size in (ax.bbox.width, ax.bbox.height))
    x, reach = (at[0] - left) / (right - left) * wide, 10 + 4.7 * len(name)
    y = (at[1] - bottom) / (top - bottom) * high + line
    return (x, x + reach, y) if side == "left" else (x - reach, x, y)


def _free_line(ax: Axes, at: tuple[float, float], name: str, side: str, *, below: bool) -> int:
    """Return the offset of a name above its vertex, in points: it overlaps no other name, and stays in the panel."""
    from matplotlib.text import Annotation

    taken, highest = [], 72 / ax.figure.dpi * ax.bbox.height - 10
    for text in ax.texts:
        if isinstance(text, Annotation) and text.arrow_patch is None:
            align = text.get_horizontalalignment()
            taken.append(_text_extent(ax, text.xy, text.get_text(), align, text.xyann[1]))

    def is_free(line: int) -> bool:
        left, right, height = _text_extent(ax, at, name, side, line)
        inside = 2 <= height <= highest
        return inside and all(right < start or end < left or abs(height - other) > 12 for start, end, other in taken)

    lines = LINES[1::2] + LINES[::2] if below else LINES
    return next(filter(is_free, lines), lines[0])


def mark_vertex(
    ax: Axes, vertex: Mapping[str, Any], look: Look, name: str, *, hollow: bool = False, below: bool = False
) -> None:
    """Draw a vertex at its projection, with its name above or below it."""
    face = "white" if hollow else look.colour
    edge = look.colour if hollow else "white"
    ax.scatter(vertex["x"], vertex["y"], s=46, c=face, ec=edge, lw=1.4, marker=look.marker, zorder=4)
    left, right = ax.get_xlim()
    inward = vertex["x"] < (left + right) / 2  # names grow towards the middle, so that none leaves the panel
    at, side = (vertex["x"], vertex["y"]), "left" if inward else "right"
    place: dict[str, Any] = {"xytext": (6 if inward else -6, _free_line(ax, at, name, side, below=below)), "ha": side}
    box: dict[str, Any] = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75}
    words = ax.annotate(name, at, bbox=box, textcoords="offset points", fontsize=8, zorder=5, **place)
    words.set_in_layout(False)
