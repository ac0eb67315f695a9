"""The members of a deep ensemble and their connected counterparts in one plane (Figure 1 of Lion et al. 2024)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.errors import Missing
from analysis.planes import Plane, contours, mark, plane_of
from analysis.queries import Configuration, Tables, best_by_construction
from analysis.registry import Drawn

TITLE = "Members and their connected counterparts"
WHAT = (
    "Measured, where the paper has a sketch. The plane through member 0, another member of the deep ensemble, and its "
    "counterpart in the basin of member 0: of permuted ensembles the same function with hidden units reordered, of "
    "distilled ones the student that learned from it (and member 0 is a student of its own teacher θ₀). Colour: loss "
    "of the network at each point. Arrows lead from a member to its counterpart; vertices off the plane are drawn at "
    "their projection with their distance from it (in units of weight), and the colour beneath them is not theirs."
)
NEEDS = "python launch.py sweep paper --set plane_points=21"


def draw(tables: Tables) -> Drawn:
    """One panel a (dataset, model)."""
    found: dict[str, Plane] = {}
    for setting, by_name in best_by_construction(tables).items():
        for configuration in by_name.values():
            plane = _both(tables, configuration)
            if plane is not None:
                found[f"{' · '.join(setting)}: {configuration.construction}"] = plane
    if not found:
        raise Missing(f"no plane on the {tables.split} split holds members and their counterparts")
    figure, axes = style.panels(len(found), columns=2, width=4.6, height=4.0)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for ax, (title, plane) in zip(axes, found.items(), strict=True):
        data[title] = _panel(ax, plane, looks[_of(title)])
        ax.set_title(title)
        figure.colorbar(ax.collections[0], ax=ax, label=f"{tables.split} loss (nats)", format="%.2g", shrink=0.9)
    names = {"deep ensemble": (style.KNOWN["deep"], "w")}
    names |= {f"counterpart, {name}": (looks[name], None) for name in style.order(_of(title) for title in found)}
    handles = [
        Line2D([], [], ls="", marker=look.marker, color=look.colour, mfc=face or look.colour, label=name)
        for name, (look, face) in names.items()
    ]
    style.legend(figure, {}, points=True, more=handles)
    return Drawn(figure, [plane.key for plane in found.values()], data)


def _of(title: str) -> str:
    """The construction that a panel is about."""
    return title.rpartition(": ")[2]


def _both(tables: Tables, configuration: Configuration) -> Plane | None:
    """The plane, if it has two vertices a member: those of the ensemble, and those that they correspond to."""
    try:
        plane = plane_of(tables, configuration)
    except Missing:
        return None
    return plane if len(plane.vertices) == 2 * configuration.hyperparameters.get("members", 0) else None


def _panel(ax: Axes, plane: Plane, after: style.Look) -> list[dict[str, Any]]:
    contours(ax, plane, "loss")
    half = len(plane.vertices) // 2
    shown = []
    for k, (new, old) in enumerate(zip(plane.vertices[:half], plane.vertices[half:], strict=True)):
        far = f", {old['residual']:.3g} off the plane" if old["residual"] > 1e-3 * abs(plane.x).max() else ""
        if abs(new["x"] - old["x"]) + abs(new["y"] - old["y"]) < 1e-6:
            mark(ax, old, style.KNOWN["deep"], f"θ{_sub(k)} = θ̃{_sub(k)}{far}", hollow=True)
        else:
            arrow = {"arrowstyle": "->", "color": "white", "lw": 1.4, "shrinkA": 5, "shrinkB": 5}
            ax.annotate("", (new["x"], new["y"]), xytext=(old["x"], old["y"]), arrowprops=arrow, zorder=3)
            mark(ax, new, after, f"θ̃{_sub(k)}", below=bool(far))
            mark(ax, old, style.KNOWN["deep"], f"θ{_sub(k)}{far}", hollow=True)
        shown += [new, old]
    _labels(ax)
    return [{name: v[name] for name in ("vertex", "x", "y", "residual", "accuracy", "loss")} for v in shown]


def _sub(k: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(k))


def _labels(ax: Axes) -> None:
    ax.set_xlabel("along the first side (weight)")
    ax.set_ylabel("orthogonal to it (weight)")
