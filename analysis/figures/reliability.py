"""Reliability diagrams: how often an ensemble is right, by how sure it is."""

import contextlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, best_by_construction, estimate
from analysis.registry import Drawn

TITLE = "Reliability"
WHAT = (
    "Accuracy of the images whose highest probability falls in a bin, against their mean confidence; images of all "
    "seeds together, 15 bins of equal width, bars the share of images in each; faint without a line: below 1 %. On "
    "the diagonal confidence is deserved; below it, the ensemble is overconfident. ECE: mean over seeds."
)
NEEDS = "python launch.py sweep {sweep}"
FEW = 0.01
"""Share of the images below which a bin's accuracy is noise: its point is faint."""


def draw(tables: Tables) -> Drawn:
    """One panel a construction."""
    found: dict[tuple[Setting, str], tuple[Configuration, np.ndarray]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in style.order(by_name):
            with contextlib.suppress(Missing):
                found[setting, name] = by_name[name], _bins(tables, by_name[name].keys)
    if not found:
        raise Missing(f"no trial has a reliability table on the {tables.split} split")
    figure, axes = style.panels(len(found), columns=min(5, max(3, -(-len(found) // 2))), width=2.75, height=2.6)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for ax, ((setting, name), (configuration, bins)) in zip(axes, found.items(), strict=True):
        _panel(ax, bins, looks[name])
        ece = estimate(tables, configuration, "ece")
        ax.set_title(f"{' · '.join(setting)}\n{name}" + (f", ECE {ece.mean:.1f} %" if ece else ""))
        data["/".join((*setting, name))] = dict(
            zip(("lo", "hi", "count", "confidence", "accuracy"), bins.round(4).tolist(), strict=True)
        )
    return Drawn(figure, [key for c, _ in found.values() for key in c.keys], data)


def _bins(tables: Tables, keys: list[str]) -> np.ndarray:
    """[5, bins]: edges, images, mean confidence and accuracy in %, of the bins that hold images; seeds pooled."""
    rows = [
        row
        for row in tables.load("reliability", keys).to_pylist()
        if row["split"] == tables.split and row["binning"] == "width" and row["count"]
    ]
    if not rows:
        raise Missing("no bin of equal width holds images")
    pooled = []
    for index in sorted({row["bin"] for row in rows}):
        own = [row for row in rows if row["bin"] == index]
        count = sum(row["count"] for row in own)
        means = [sum(row["count"] * row[name] for row in own) / count for name in ("confidence", "accuracy")]
        pooled.append([own[0]["lo"], own[0]["hi"], count, *means])
    return np.array(pooled).T


def _panel(ax: Axes, bins: np.ndarray, look: style.Look) -> None:
    lo, hi, count, confidence, accuracy = bins
    ax.bar((lo + hi) / 2, 100 * count / count.sum(), width=0.9 * (hi - lo), color=style.tint(look.colour, 0.75))
    ax.plot([0, 100], [0, 100], color=style.GREY, lw=0.8, ls=(0, (5, 3)))
    many = count >= FEW * count.sum()
    line = {"color": look.colour, "marker": look.marker, "zorder": 3}
    ax.plot(confidence[many], accuracy[many], ms=4.5, mec="white", mew=0.5, **line)
    ax.plot(confidence[~many], accuracy[~many], ms=3, ls="", alpha=0.35, **line)
    ax.set(xlim=(0, 103), ylim=(0, 103), xlabel="confidence (%)", ylabel="accuracy; images (%)")
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.set_yticks([0, 25, 50, 75, 100])
