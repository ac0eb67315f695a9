"""The two pictures at the top of the report: accuracy between members, and the valleys they lie in."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis.answers.verdicts import find_verdict
from analysis.constructions import REFERENCE, facts, label
from analysis.data.planes import Plane, plane_of
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction
from analysis.figures import paths, planes
from analysis.output import style
from analysis.report.planes import valley_pair

DPI = 130
"""Pixels of the page in an inch of a figure. Its image has those of the PNG file, more: sharp on a phone."""
LEVELS = 13


@dataclass(frozen=True)
class Picture:
    """A figure with its title and caption, and the keys of its trials."""

    figure: Figure
    title: str
    caption: str
    keys: Sequence[str]
    target: str = ""
    """Section of the page that shows more of it, if any."""


def lead_pictures(tables: Tables, setting: Setting) -> list[Picture]:
    """Return the pictures of a (dataset, model) that have their data. Call this within the house style."""
    by_name = best_by_construction(tables)[setting]
    return [picture for picture in (_paths_picture(tables, setting), _valleys_picture(tables, by_name)) if picture]


def encode_pixels(pixels: np.ndarray) -> str:
    """Return pixels [height, width, RGBA] as the base64 text of a WebP image."""
    image = io.BytesIO()
    # Method 4 makes it 4 % smaller, and takes twice the time.
    Image.fromarray(pixels).convert("RGB").save(image, "webp", quality=80, method=2)
    return base64.b64encode(image.getvalue()).decode()


def _paths_picture(tables: Tables, setting: Setting) -> Picture | None:
    lines = paths.curves_by_setting(tables).get(setting)
    if not lines:
        return None
    looks = {name: look for name, look in style.looks(tables).items() if name in lines}
    figure, (ax,) = style.panels(1, columns=1, width=5.2, height=3.3)
    paths.draw_accuracy(ax, lines, looks, tables.split)
    style.draw_legend(figure, looks, points=False)
    keys = list(chain.from_iterable(curves.keys for curves in lines.values()))
    caption = (
        "Accuracy of (1-α)θ_i + αθ_j on the straight line between two members: mean over pairs and seeds, with one "
        "standard deviation."
    )
    return Picture(figure, "Accuracy on the way from one member to another", caption, keys)


def _valleys_picture(tables: Tables, by_name: dict[str, Configuration]) -> Picture | None:
    """Draw the loss around the members of a deep ensemble beside that around those of a connected one."""
    shown = valley_pair(tables, by_name)
    if not shown:
        return None
    known = {name: plane_of(tables, by_name[name]) for name in shown}
    figure, axes = style.panels(2, columns=2, width=3.1, height=3.3)
    low, high = (pick([pick(known[name].loss.ravel()) for name in shown]) for pick in (np.min, np.max))
    levels = np.geomspace(max(float(low), 1e-3), max(float(high), 2e-3), LEVELS)
    looks = style.looks(tables)
    for ax, name in zip(axes, shown, strict=True):
        drawn = _draw_valley(ax, known[name], levels)
        members = by_name[name].hyperparameters.get("members", 0)
        planes.draw_vertices(ax, known[name], looks[name], members, facts(name).counterpart)
        ax.set_title(f"{label(name)} ensemble")
        ax.set_xlabel("weight")
    axes[0].set_ylabel("weight")
    figure.colorbar(drawn, ax=axes, label=f"{tables.split} loss (nats)", format="%.2g", shrink=0.9)
    spans = [float(np.ptp(known[name].x)) for name in shown]
    caption = (
        f"Loss in the plane through three members of the deep and of the {label(shown[1])} ensemble, in the same "
        f"colours. The planes are {spans[0]:.2g} and {spans[1]:.2g} wide, in units of weight. Hollow members lie off "
        "the plane, at the given distance."
    )
    deep = find_verdict(tables, by_name[REFERENCE])
    title = "Separate valleys, and one" if deep and deep.answer == "no" else "Valleys of the loss"
    return Picture(figure, title, caption, [known[name].key for name in shown], target="valleys")


def _draw_valley(ax: Axes, plane: Plane, levels: np.ndarray) -> Any:
    """Draw filled contours at these levels; return the mappable."""
    values = np.clip(plane.loss, levels[0], levels[-1])
    drawn = ax.contourf(plane.x, plane.y, values, levels, cmap="cividis_r")
    ax.contour(plane.x, plane.y, values, levels[::3], colors="white", linewidths=0.5, alpha=0.7)
    ax.grid(visible=False)
    return drawn
