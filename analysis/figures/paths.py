"""Linear mode connectivity: accuracy along the paths between members (Figure 2 of Lion et al. 2024)."""

from collections import defaultdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import style
from analysis.errors import Missing
from analysis.queries import POLICIES, Tables, best_by_construction
from analysis.registry import Drawn

TITLE = "Accuracy along linear paths"
WHAT = (
    "Left: accuracy of (1-α)θ_i + αθ_j, mean over all pairs i<j and seeds, shading one standard deviation over pairs "
    "and seeds. Right: the same minus the chord between the ends (q_pair; 0 = perfectly connected), linear within one "
    "point and logarithmic beyond. BatchNorm statistics re-estimated (policy reset) where the model has any. The "
    "direction i to j of a pair is arbitrary and not symmetrised (for snapshots, i is the earlier)."
)
NEEDS = "python launch.py sweep STUDY"


def draw(tables: Tables) -> Drawn:
    """One row of two panels a (dataset, model), one line a construction."""
    best = best_by_construction(tables)
    found: dict[Any, dict[str, tuple[Any, list[str]]]] = {}
    for setting, by_name in best.items():
        for name, configuration in by_name.items():
            curves = _curves(tables, configuration.keys)
            if curves:
                found.setdefault(setting, {})[name] = (curves, configuration.keys)
    if not found:
        raise Missing(f"no path was evaluated on the {tables.split} split with policy {' or '.join(POLICIES)}")
    figure, axes = style.panels(len(found), 2, width=4.1, height=2.9)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for (left, right), (setting, lines) in zip(axes, found.items(), strict=True):
        for name in style.order(lines):
            (alphas, accuracy), used = lines[name]
            shown = _band(left, alphas, accuracy, looks[name])
            chord = (1 - alphas) * accuracy[:, :1] + alphas * accuracy[:, -1:]
            excess = _band(right, alphas, accuracy - chord, looks[name])
            data.setdefault("/".join(setting), {})[name] = {
                **{"alpha": alphas.tolist(), "curves": len(accuracy), "seeds": len(used)},
                **{f"accuracy_{k}": v for k, v in shown.items()},
                **{f"q_pair_{k}": v for k, v in excess.items()},
            }
            keys += used
        _axes(left, right, " · ".join(setting), tables.split)
    drawn = {name for lines in found.values() for name in lines}
    style.legend(figure, {name: look for name, look in looks.items() if name in drawn}, points=False)
    return Drawn(figure, keys, data)


def _curves(tables: Tables, keys: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """The α that every curve has, and accuracy in % as [curves, α], a curve a seed and pair; None without paths."""
    try:
        points = tables.load("paths", keys).to_pylist()
    except Missing:
        return None
    points = [point for point in points if point["split"] == tables.split]
    policy = next((name for name in POLICIES if any(point["policy"] == name for point in points)), None)
    curves: dict[Any, dict[float, float]] = defaultdict(dict)
    for point in points:
        if point["policy"] == policy and point["accuracy"] is not None:
            curves[point["key"], point["i"], point["j"]][round(point["alpha"], 9)] = point["accuracy"]
    if not curves:
        return None
    alphas = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    if alphas[:1] != [0.0] or alphas[-1] != 1.0:
        raise Missing(f"the paths of {', '.join(keys)} lack an end (α = 0 or 1)")
    return np.array(alphas), np.array([[curve[alpha] for alpha in alphas] for curve in curves.values()])


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
    right.set_yscale("symlog", linthresh=1.0, linscale=1.0)
    low, high = right.get_ylim()
    right.set_ylim(min(low, -1.2), max(high, 1.2))
    shown = [tick for tick in (-100, -30, -10, -3, -1, 0, 1, 3, 10) if min(low, -1.2) <= tick <= max(high, 1.2)]
    right.set_yticks(shown, [str(tick).replace("-", "−") for tick in shown])
    right.yaxis.set_minor_locator(NullLocator())
    for ax in (left, right):
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        ax.set_xlabel("α")
