"""Members of a deep ensemble and their connected counterparts in one plane (Figure 1 of Lion et al. 2024)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from analysis.constructions import REFERENCE, order
from analysis.data.planes import Plane, find_plane
from analysis.data.queries import Configuration, Tables, best_by_construction
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.drawing import draw_contours, mark_vertex
from basin.api.style import Look

TITLE = "Members and their connected counterparts"
QUESTION = "Can permutations connect independent networks?"
WHAT = (
    "Members of a deep ensemble and their counterparts in one basin: the paper's sketch, measured. Each plane contains "
    "member 0, another member of the deep ensemble, and that member's counterpart in the basin of member 0: for "
    "permuted ensembles the same function with reordered hidden units, for distilled ones the student that learned "
    "from it (member 0 is a student of its own teacher θ₀). "
    "Colour: loss of the network at each point. Arrows lead from a member to its counterpart. Vertices off the plane "
    "are drawn at their projection with their distance from it (in units of weight); the colour at their position is "
    "not their loss."
)
NEEDS = "quickstart"


def draw(tables: Tables) -> Drawn:
    """Draw one panel per (dataset, model)."""
    shown_planes: dict[tuple[str, str], Plane] = {}
    for setting, by_name in best_by_construction(tables).items():
        for configuration in by_name.values():
            plane = _plane_with_counterparts(tables, configuration)
            if plane is not None:
                shown_planes[" · ".join(setting), configuration.construction] = plane
    if not shown_planes:
        raise Missing(f"no plane on the {tables.split} split holds members and their counterparts")
    figure, axes = style.panels(len(shown_planes), columns=2, width=4.6, height=4.0)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for ax, ((setting_name, name), plane) in zip(axes, shown_planes.items(), strict=True):
        title = f"{setting_name}: {name}"
        data[title] = _draw_panel(ax, plane, looks[name])
        ax.set_title(title)
        figure.colorbar(ax.collections[0], ax=ax, label=f"{tables.split} loss (nats)", format="%.2g", shrink=0.9)
    names: dict[str, tuple[Look, str | None]] = {"deep ensemble": (style.KNOWN[REFERENCE], "w")}
    names |= {f"counterpart, {name}": (looks[name], None) for name in order(name for _, name in shown_planes)}
    handles = [
        Line2D([], [], ls="", marker=look.marker, color=look.colour, mfc=face or look.colour, label=name)
        for name, (look, face) in names.items()
    ]
    style.draw_legend(figure, {}, points=True, more=handles)
    return Drawn(figure, [plane.key for plane in shown_planes.values()], data)


def _plane_with_counterparts(tables: Tables, configuration: Configuration) -> Plane | None:
    """Return the plane if it has two vertices per member: the member and its counterpart."""
    plane, members = find_plane(tables, configuration), configuration.hyperparameters.get("members", 0)
    return plane if plane and len(plane.vertices) == 2 * members else None


def _draw_panel(ax: Axes, plane: Plane, after: Look) -> list[dict[str, Any]]:
    draw_contours(ax, plane, "loss")
    half = len(plane.vertices) // 2
    shown = []
    for k, (new, old) in enumerate(zip(plane.vertices[:half], plane.vertices[half:], strict=True)):
        far = f", {old['residual']:.3g} off the plane" if old["residual"] > 1e-3 * abs(plane.x).max() else ""
        if abs(new["x"] - old["x"]) + abs(new["y"] - old["y"]) < 1e-6:
            mark_vertex(ax, old, style.KNOWN[REFERENCE], f"θ{_subscript(k)} = θ̃{_subscript(k)}{far}", hollow=True)
        else:
            arrow: dict[str, Any] = {"arrowstyle": "->", "color": "#1a1a1a", "lw": 1.2, "shrinkA": 5, "shrinkB": 5}
            arrow["path_effects"] = [withStroke(linewidth=3, foreground="white")]
            ax.annotate("", (new["x"], new["y"]), xytext=(old["x"], old["y"]), arrowprops=arrow, zorder=3)
            mark_vertex(ax, new, after, f"θ̃{_subscript(k)}", below=bool(far))
            mark_vertex(ax, old, style.KNOWN[REFERENCE], f"θ{_subscript(k)}{far}", hollow=True)
        shown += [new, old]
    ax.set(xlabel="along the first side (weight)", ylabel="orthogonal to it (weight)")
    return [{name: v[name] for name in ("vertex", "x", "y", "residual", "accuracy", "loss")} for v in shown]


def _subscript(k: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(k))
