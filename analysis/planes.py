"""The plane through three networks as a trial's table holds it: a grid of networks, and vertices near it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Tables

LINES = (5, -13, 18, -26, 31, -39)
"""Points above a vertex at which its name may stand, the first the best."""


@dataclass(frozen=True)
class Plane:
    """Coordinates [n] and [n] in units of weight, accuracy in % and loss in nats [n, n] (y, x), and the vertices."""

    key: str
    x: np.ndarray
    y: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    vertices: list[dict[str, Any]]

    @property
    def anchors(self) -> list[int]:
        """Vertices that lie in the plane, up to rounding."""
        size = float(np.hypot(np.ptp(self.x), np.ptp(self.y)))
        return [v["vertex"] for v in self.vertices if v["residual"] < 1e-4 * size]


def plane_of(tables: Tables, configuration: Configuration) -> Plane:
    """The plane of the first seed that has one on the reported split; raises Missing if none has."""
    for key in configuration.keys:
        try:
            points = tables.load("planes", [key]).to_pylist()
        except Missing:
            continue
        points = [point for point in points if point["split"] == tables.split]
        network = sorted((p for p in points if p["vertex"] is None), key=lambda p: (p["y"], p["x"]))
        x, y = (np.unique([round(p[axis], 9) for p in network]) for axis in "xy")
        if network and len(network) == len(x) * len(y):
            accuracy, loss = (np.array([p[m] for p in network]).reshape(len(y), len(x)) for m in ("accuracy", "loss"))
            vertices = sorted((p for p in points if p["vertex"] is not None), key=lambda p: p["vertex"])
            return Plane(key, x, y, accuracy, loss, vertices)
    raise Missing(f"no {configuration.construction} trial has a plane on the {tables.split} split")


def contours(ax: Axes, plane: Plane, what: str) -> Any:
    """Filled contours of `accuracy` (levels equally spaced) or `loss` (in ratios); the mappable for a colour bar."""
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


def _extent(ax: Axes, at: tuple[float, float], name: str, side: str, line: int) -> tuple[float, float, float]:
    """Left and right end and height of a name at a vertex, in points, near enough to see whether it is upon another."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    wide, high = (72 / ax.get_figure().dpi * size for size in (ax.bbox.width, ax.bbox.height))
    x, reach = (at[0] - left) / (right - left) * wide, 10 + 4.7 * len(name)
    y = (at[1] - bottom) / (top - bottom) * high + line
    return (x, x + reach, y) if side == "left" else (x - reach, x, y)


def _line(ax: Axes, at: tuple[float, float], name: str, side: str, *, below: bool) -> int:
    """How many points above the vertex its name stands, so that it is upon no other name."""
    names = [text for text in ax.texts if text.arrow_patch is None]
    taken = [_extent(ax, text.xy, text.get_text(), text.get_ha(), text.xyann[1]) for text in names]

    def free(line: int) -> bool:
        left, right, height = _extent(ax, at, name, side, line)
        return all(right < start or end < left or abs(height - other) > 12 for start, end, other in taken)

    lines = LINES[1::2] + LINES[::2] if below else LINES
    return next(filter(free, lines), lines[0])


def mark(
    ax: Axes, vertex: dict[str, Any], look: style.Look, name: str, *, hollow: bool = False, below: bool = False
) -> None:
    """A vertex at its projection, with its name above or below it."""
    face = "white" if hollow else look.colour
    edge = look.colour if hollow else "white"
    ax.scatter(vertex["x"], vertex["y"], s=46, c=face, ec=edge, lw=1.4, marker=look.marker, zorder=4)
    left, right = ax.get_xlim()
    inward = vertex["x"] < (left + right) / 2  # names grow towards the middle, so that none leaves the panel
    at, side = (vertex["x"], vertex["y"]), "left" if inward else "right"
    place = {"xytext": (6 if inward else -6, _line(ax, at, name, side, below=below)), "ha": side}
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75}
    words = ax.annotate(name, at, bbox=box, textcoords="offset points", fontsize=8, zorder=5, **place)
    words.set_in_layout(False)
