"""Linear mode connectivity: accuracy along the paths between members (Figure 2 of Lion et al. 2024)."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.constructions import order
from analysis.data.queries import Setting, Tables, best_by_construction, first_present
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.drawing import finish_alpha_axis
from basin.api.style import Look

TITLE = "Accuracy along linear paths"
QUESTION = "Are the members connected?"
WHAT = (
    "Left: accuracy of (1-α)θ_i + αθ_j, mean over all pairs i<j and seeds; shading: one standard deviation over pairs "
    "and seeds. Right: the same minus the chord between the ends (q_pair; 0 = perfectly connected), linear within one "
    "point and logarithmic beyond. BatchNorm statistics are re-estimated (policy reset). The direction of a pair is "
    "arbitrary (for snapshots, i is the earlier)."
)
NEEDS = "quickstart"


@dataclass(frozen=True)
class Curves:
    """Common α of all curves, accuracy in % [curves, α] with one curve per seed and pair, and the trials' keys."""

    alphas: np.ndarray
    accuracy: np.ndarray
    keys: list[str]


def draw(tables: Tables) -> Drawn:
    """Draw a row of two panels per (dataset, model), with one line per construction."""
    by_setting = curves_by_setting(tables)
    if not by_setting:
        raise Missing(f"no path was evaluated on the {tables.split} split with policy {' or '.join(tables.policies)}")
    figure, axes = style.panels(2 * len(by_setting), columns=2, width=4.1, height=2.9)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, (setting, lines) in zip(axes[::2], axes[1::2], by_setting.items(), strict=True):
        drawn = {name: _draw_lines(left, right, curves, looks[name]) for name, curves in lines.items()}
        data["/".join(setting)] = drawn
        _finish_axes(left, right, " · ".join(setting), tables.split)
    names = set(chain.from_iterable(by_setting.values()))
    style.draw_legend(figure, {name: look for name, look in looks.items() if name in names}, points=False)
    curves = chain.from_iterable(lines.values() for lines in by_setting.values())
    return Drawn(figure, list(chain.from_iterable(one.keys for one in curves)), data)


def curves_by_setting(tables: Tables) -> dict[Setting, dict[str, Curves]]:
    """Return the curves of each construction that has paths, per (dataset, model)."""
    by_setting: dict[Setting, dict[str, Curves]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in order(by_name):
            with contextlib.suppress(Missing):
                by_setting.setdefault(setting, {})[name] = _path_curves(tables, by_name[name].keys)
    return by_setting


def draw_accuracy(ax: Axes, lines: Mapping[str, Curves], looks: Mapping[str, Look], split: str) -> None:
    """Draw accuracy along the paths of each construction into one panel."""
    for name, curves in lines.items():
        _draw_band(ax, curves.alphas, curves.accuracy, looks[name])
    ax.set_ylabel(f"{split} accuracy (%)")
    finish_alpha_axis(ax)


def _path_curves(tables: Tables, keys: list[str]) -> Curves:
    """Return the paths of these trials on the reported split. Raises Missing if none reaches from end to end."""
    points = [point for point in tables.load("paths", keys).to_pylist() if point["split"] == tables.split]
    policy = first_present(tables.policies, {point["policy"] for point in points})
    curves: dict[Any, dict[float, float]] = defaultdict(dict)
    for point in points:
        if point["policy"] == policy and point["accuracy"] is not None:
            curves[point["key"], point["i"], point["j"]][round(point["alpha"], 9)] = point["accuracy"]
    alphas = sorted(set.intersection(*(set(curve) for curve in curves.values()))) if curves else []
    if alphas[:1] != [0.0] or alphas[-1:] != [1.0]:
        raise Missing("no path from end to end")
    accuracy = np.array([[curve[alpha] for alpha in alphas] for curve in curves.values()])
    return Curves(np.array(alphas), accuracy, sorted({key for key, _, _ in curves}))


def _draw_lines(left: Axes, right: Axes, curves: Curves, look: Look) -> dict[str, Any]:
    """Draw one construction in both panels and return the plotted values."""
    alphas, accuracy = curves.alphas, curves.accuracy
    chord = (1 - alphas) * accuracy[:, :1] + alphas * accuracy[:, -1:]
    drawn: dict[str, Any] = {"seeds": len(curves.keys), "curves": len(accuracy), "alpha": alphas.tolist()}
    for ax, name, values in ((left, "accuracy", accuracy), (right, "q_pair", accuracy - chord)):
        drawn |= {f"{name}_{what}": shown for what, shown in _draw_band(ax, alphas, values, look).items()}
    return drawn


def _finish_axes(left: Axes, right: Axes, title: str, split: str) -> None:
    left.set_title(title)
    left.set_ylabel(f"{split} accuracy (%)")
    right.set_title("minus the chord")
    right.set_ylabel(r"$q_{pair}$ (points)")
    drawn = right.dataLim
    style.points_axis(right.yaxis, min(1.3 * drawn.ymin, -1.2), max(1.3 * drawn.ymax, 0.8))
    for ax in (left, right):
        finish_alpha_axis(ax)


def _draw_band(ax: Axes, alphas: NDArray[Any], curves: NDArray[Any], look: Look) -> dict[str, list[float]]:
    """Draw the mean of curves [curves, A] and one standard deviation; return both."""
    mean, deviation = curves.mean(axis=0), curves.std(axis=0)
    ax.fill_between(alphas, mean - deviation, mean + deviation, color=look.colour, alpha=0.16, lw=0)
    ax.plot(alphas, mean, color=look.colour, ls=look.dash, solid_capstyle="round")
    return {"mean": mean.round(6).tolist(), "deviation": deviation.round(6).tolist()}
