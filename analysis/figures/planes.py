"""Two-dimensional planes through three networks (Figure 4 of Lion et al. 2024; Garipov 2018, appendix A.1)."""

import contextlib
from typing import Any

from matplotlib.axes import Axes

from analysis.constructions import REFERENCE, facts, order
from analysis.data.planes import Plane, plane_of
from analysis.data.queries import Setting, Tables, best_by_construction
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.drawing import draw_contours, mark_vertex
from basin.api.style import Look

TITLE = "Planes through three networks"
QUESTION = "Are the members connected?"
WHAT = (
    "Loss (left) and accuracy (right) of the networks in the plane through three vertices of one ensemble, the first "
    "at the origin, with re-estimated BatchNorm statistics. Members off the plane are hollow, at their projection, "
    "with their distance from it. “before” is an aligned member before alignment, “teacher” the teacher of a "
    "distilled one. Each panel has its own colour scale; white was not evaluated. Axes in units of weight, with "
    "different scales if an ensemble lies almost on a line."
)
NEEDS = "quickstart"


def draw(tables: Tables) -> Drawn:
    """Draw a row of two panels per construction."""
    shown_planes: dict[tuple[Setting, str], Plane] = {}
    members: dict[str, int] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in order(by_name):
            with contextlib.suppress(Missing):
                shown_planes[setting, name] = plane_of(tables, by_name[name])
                members[shown_planes[setting, name].key] = by_name[name].hyperparameters.get("members", 0)
    if not shown_planes:
        raise Missing(f"no trial has a plane on the {tables.split} split")
    figure, axes = style.panels(2 * len(shown_planes), columns=2, width=3.4, height=2.6)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, ((setting, name), plane) in zip(axes[::2], axes[1::2], shown_planes.items(), strict=True):
        for ax, what, unit in ((left, "loss", "nats"), (right, "accuracy", "%")):
            drawn = draw_contours(ax, plane, what)
            figure.colorbar(drawn, ax=ax, label=f"{tables.split} {what} ({unit})", format="%.4g", shrink=0.9)
            draw_vertices(ax, plane, looks[name], members[plane.key], facts(name).counterpart)
        left.set_title(f"{' · '.join(setting)}: {name}")
        left.set_ylabel("weight")
        data["/".join((*setting, name))] = {
            "x": plane.x.tolist(),
            "y": plane.y.tolist(),
            "loss": plane.loss.round(5).tolist(),
            "accuracy": plane.accuracy.round(3).tolist(),
            "vertices": plane.vertices,
        }
    return Drawn(figure, [plane.key for plane in shown_planes.values()], data)


def draw_vertices(ax: Axes, plane: Plane, look: Look, members: int, other: str) -> None:
    """Draw members with their index, hollow if off the plane, and other vertices by the name `other`."""
    for vertex in plane.vertices:
        inside = vertex["vertex"] in plane.anchors
        far = "" if inside else f", {vertex['residual']:.3g} off"
        if vertex["vertex"] < members:
            mark_vertex(ax, vertex, look, f"{vertex['vertex']}{far}", hollow=not inside)
        elif inside and vertex["vertex"] > members:
            mark_vertex(ax, vertex, style.KNOWN[REFERENCE], other.format(vertex["vertex"] - members), hollow=True)
