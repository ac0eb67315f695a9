"""Reliability diagrams: accuracy against confidence."""

import contextlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.constructions import order
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction, estimate_metric, keys_of
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.style import Look

TITLE = "Reliability"
QUESTION = "How good are the probabilities?"
WHAT = (
    "Accuracy against mean confidence in 15 bins of equal width, images of all seeds pooled; bars: share of images "
    "per bin. Points of bins with less than 1 % of the images are faint. On the diagonal confidence matches accuracy; "
    "below it the ensemble is overconfident. ECE: mean over seeds."
)
NEEDS = "quickstart"
FEW = 0.01
"""Share of images below which a bin's accuracy is noise and its point is drawn faint."""


def draw(tables: Tables) -> Drawn:
    """Draw one panel per construction."""
    shown: dict[tuple[Setting, str], tuple[Configuration, np.ndarray]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name in order(by_name):
            with contextlib.suppress(Missing):
                shown[setting, name] = by_name[name], _pooled_bins(tables, by_name[name].keys)
    if not shown:
        raise Missing(f"no trial has a reliability table on the {tables.split} split")
    figure, axes = style.panels(len(shown), columns=min(5, max(3, -(-len(shown) // 2))), width=2.75, height=2.6)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for ax, ((setting, name), (configuration, bins)) in zip(axes, shown.items(), strict=True):
        _draw_panel(ax, bins, looks[name])
        ece = estimate_metric(tables, configuration, "ece")
        ax.set_title(f"{' · '.join(setting)}\n{name}" + (f", ECE {ece.mean:.1f} %" if ece else ""))
        data["/".join((*setting, name))] = dict(
            zip(("lo", "hi", "count", "confidence", "accuracy"), bins.round(4).tolist(), strict=True)
        )
    return Drawn(figure, keys_of(configuration for configuration, _ in shown.values()), data)


def _pooled_bins(tables: Tables, keys: list[str]) -> np.ndarray:
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
        in_bin = [row for row in rows if row["bin"] == index]
        count = sum(row["count"] for row in in_bin)
        means = [sum(row["count"] * row[name] for row in in_bin) / count for name in ("confidence", "accuracy")]
        pooled.append([in_bin[0]["lo"], in_bin[0]["hi"], count, *means])
    return np.array(pooled).T


def _draw_panel(ax: Axes, bins: np.ndarray, look: Look) -> None:
    lo, hi, count, confidence, accuracy = bins
    ax.bar(
        (lo + hi) / 2, 100 * count / count.sum(), width=0.9 * (hi - lo), color=style.mix_with_white(look.colour, 0.75)
    )
    ax.plot([0, 100], [0, 100], color=style.GREY, lw=0.8, ls=(0, (5, 3)))
    many = count >= FEW * count.sum()
    line: dict[str, Any] = {"color": look.colour, "marker": look.marker, "zorder": 3}
    ax.plot(confidence[many], accuracy[many], ms=4.5, mec="white", mew=0.5, **line)
    ax.plot(confidence[~many], accuracy[~many], ms=3, ls="", alpha=0.35, **line)
    ax.set(xlim=(0, 103), ylim=(0, 103), xlabel="confidence (%)", ylabel="accuracy; images (%)")
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.set_yticks([0, 25, 50, 75, 100])
