"""Linear mode connectivity: accuracy along the paths between members (Figure 2 of Lion et al. 2024)."""

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.queries import POLICIES, Setting, Tables, best_by_construction
from analysis.registry import Drawn

TITLE = "Accuracy along linear paths"
WHAT = (
    "Left: accuracy of (1-α)θ_i + αθ_j, mean over all pairs i<j and seeds, shading one standard deviation over pairs "
    "and seeds. Right: the same minus the chord between the ends (q_pair; 0 = perfectly connected), linear within one "
    "point and logarithmic beyond. BatchNorm statistics re-estimated (policy reset) where the model has any. The "
    "direction i to j of a pair is arbitrary and not symmetrised (for snapshots, i is the earlier)."
)
NEEDS = "python launch.py sweep {sweep}"


@dataclass(frozen=True)
class Curves:
    """The α that every curve has, accuracy in % as [curves, α] (a curve a seed and pair), and the trials' keys."""

    alphas: np.ndarray
    accuracy: np.ndarray
    keys: list[str]


def draw(tables: Tables) -> Drawn:
    """One row of two panels a (dataset, model), one line a construction."""
    found: dict[Setting, dict[str, Curves]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in style.order(by_name):
            with contextlib.suppress(Missing):
                found.setdefault(setting, {})[name] = _curves(tables, by_name[name].keys)
    found = {setting: lines for setting, lines in found.items() if lines}
    if not found:
        raise Missing(f"no path was evaluated on the {tables.split} split with policy {' or '.join(POLICIES)}")
    figure, axes = style.panels(2 * len(found), columns=2, width=4.1, height=2.9)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, (setting, lines) in zip(axes[::2], axes[1::2], found.items(), strict=True):
        drawn = {name: _lines(left, right, curves, looks[name]) for name, curves in lines.items()}
        data["/".join(setting)] = drawn
        _axes(left, right, " · ".join(setting), tables.split)
    names = {name for lines in found.values() for name in lines}
    style.legend(figure, {name: look for name, look in looks.items() if name in names}, points=False)
    return Drawn(figure, [key for lines in found.values() for curves in lines.values() for key in curves.keys], data)


def _curves(tables: Tables, keys: list[str]) -> Curves:
    """The paths of these trials on the reported split; raises Missing without any that reach from end to end."""
    points = [point for point in tables.load("paths", keys).to_pylist() if point["split"] == tables.split]
    policy = next((name for name in POLICIES if any(point["policy"] == name for point in points)), None)
    curves: dict[Any, dict[float, float]] = defaultdict(dict)
    for point in points:
        if point["policy"] == policy and point["accuracy"] is not None:
            curves[point["key"], point["i"], point["j"]][round(point["alpha"], 9)] = point["accuracy"]
    alphas = sorted(set.intersection(*(set(curve) for curve in curves.values()))) if curves else []
    if alphas[:1] != [0.0] or alphas[-1:] != [1.0]:
        raise Missing("no path from end to end")
    accuracy = np.array([[curve[alpha] for alpha in alphas] for curve in curves.values()])
    return Curves(np.array(alphas), accuracy, sorted({key for key, _, _ in curves}))


def _lines(left: Axes, right: Axes, curves: Curves, look: style.Look) -> dict[str, Any]:
    """Draws one construction in both panels; the values drawn."""
    alphas, accuracy = curves.alphas, curves.accuracy
    chord = (1 - alphas) * accuracy[:, :1] + alphas * accuracy[:, -1:]
    drawn: dict[str, Any] = {"seeds": len(curves.keys), "curves": len(accuracy), "alpha": alphas.tolist()}
    for ax, name, values in ((left, "accuracy", accuracy), (right, "q_pair", accuracy - chord)):
        drawn |= {f"{name}_{what}": shown for what, shown in _band(ax, alphas, values, look).items()}
    return drawn


def _band(ax: Axes, alphas: np.ndarray, curves: np.ndarray, look: style.Look) -> dict[str, list[float]]:
    mean, deviation = curves.mean(axis=0), curves.std(axis=0)
    ax.fill_between(alphas, mean - deviation, mean + deviation, color=look.colour, alpha=0.16, lw=0)
    ax.plot(alphas, mean, color=look.colour, ls=look.dash, solid_capstyle="round")
    return {"mean": mean.round(6).tolist(), "deviation": deviation.round(6).tolist()}


def _axes(left: Axes, right: Axes, title: str, split: str) -> None:
    left.set_title(title)
    left.set_ylabel(f"{split} accuracy (%)")
    right.set_title("minus the chord")
    right.set_ylabel(r"$q_{pair}$ (points)")
    drawn = right.dataLim
    style.points_axis(right.yaxis, min(1.3 * drawn.ymin, -1.2), max(1.3 * drawn.ymax, 0.8))
    for ax in (left, right):
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        ax.set_xlabel("α")
