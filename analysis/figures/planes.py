"""Two-dimensional planes through three networks (Figure 4 of Lion et al. 2024; Garipov 2018, appendix A.1)."""

import contextlib
from typing import Any

from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.planes import Plane, contours, mark, plane_of
from analysis.queries import Setting, Tables, best_by_construction
from analysis.registry import Drawn

TITLE = "Planes through three networks"
WHAT = (
    "Loss (left) and accuracy (right) of the networks in the plane through three vertices of one ensemble each, the "
    "first at the origin, BatchNorm statistics re-estimated where the model has any. Members off the plane are drawn "
    "hollow at their projection with their distance from it; `before` is an aligned member as it was, `teacher` what a "
    "distilled one learned from. Each panel has its own colour scale, and is white beyond what was evaluated. Axes in "
    "units of weight; not to one scale where an ensemble lies almost on a line."
)
NEEDS = "python launch.py sweep paper --set plane_points=21"
OTHERS = {"distilled": "teacher {}"}
"""What the vertices beyond the members are called, where they are not the members before something was done to them."""


def draw(tables: Tables) -> Drawn:
    """A row of two panels a construction."""
    found: dict[tuple[Setting, str], Plane] = {}
    members: dict[str, int] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in style.order(by_name):
            with contextlib.suppress(Missing):
                found[setting, name] = plane_of(tables, by_name[name])
                members[found[setting, name].key] = by_name[name].hyperparameters.get("members", 0)
    if not found:
        raise Missing(f"no trial has a plane on the {tables.split} split")
    figure, axes = style.panels(2 * len(found), columns=4 if len(found) > 3 else 2, width=3.4, height=2.6)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, ((setting, name), plane) in zip(axes[::2], axes[1::2], found.items(), strict=True):
        for ax, what, unit in ((left, "loss", "nats"), (right, "accuracy", "%")):
            drawn = contours(ax, plane, what)
            figure.colorbar(drawn, ax=ax, label=f"{tables.split} {what} ({unit})", format="%.3g", shrink=0.9)
            _vertices(ax, plane, looks[name], members[plane.key], OTHERS.get(name, "{} before"))
        left.set_title(f"{' · '.join(setting)}: {name}")
        left.set_ylabel("weight")
        data["/".join((*setting, name))] = {
            "x": plane.x.tolist(),
            "y": plane.y.tolist(),
            "loss": plane.loss.round(5).tolist(),
            "accuracy": plane.accuracy.round(3).tolist(),
            "vertices": plane.vertices,
        }
    return Drawn(figure, [plane.key for plane in found.values()], data)


def _vertices(ax: Axes, plane: Plane, look: style.Look, members: int, other: str) -> None:
    for vertex in plane.vertices:
        inside = vertex["vertex"] in plane.anchors
        far = "" if inside else f", {vertex['residual']:.3g} off"
        if vertex["vertex"] < members:
            mark(ax, vertex, look, f"{vertex['vertex']}{far}", hollow=not inside)
        elif inside and vertex["vertex"] > members:
            mark(ax, vertex, style.KNOWN["deep"], other.format(vertex["vertex"] - members), hollow=True)
