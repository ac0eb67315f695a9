"""Metrics against the number of members, and the deep ensemble that each ensemble is worth."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.answers.differences import estimate_values
from analysis.answers.worth import deep_curve, deep_equivalent, drawn_interval, in_text
from analysis.constructions import REFERENCE, order
from analysis.data import outcomes
from analysis.data.outcomes import LIKELIHOOD
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction, keys_of
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.style import Look
from stats.equivalent import Equivalent
from stats.intervals import Estimate

TITLE = "Metrics against the number of members"
QUESTION = "How good are the probabilities?"
WHAT = (
    "Accuracy, NLL and calibrated log-likelihood (at the cross-validated temperature, Ashukha 2020) of ensembles of m "
    "members, "
    "averaged over at most ten subsets of each size. Bars: 95 % interval over seeds and images. In the last panel a "
    "dotted line leads from each whole ensemble to the number of deep-ensemble members with the same one "
    "(its DEE, hollow; pale: its 95 % interval). The grey line is the deep ensemble, extended by larger ones in the "
    "results and linear in 1/m between sizes. Ensembles beyond either end of that line have no such point."
)
NEEDS = "quickstart"
PANELS = {"accuracy": "accuracy (%)", "nll": "NLL (nats)", LIKELIHOOD: "calibrated log-likelihood (nats)"}

Curves = dict[str, dict[int, Estimate]]
"""Construction → number of members → value."""


def draw(tables: Tables) -> Drawn:
    """Draw a row of three panels per (dataset, model)."""
    by_setting: dict[Setting, dict[str, Curves]] = {}
    for setting, by_name in best_by_construction(tables).items():
        curves = {metric: _member_curves(tables, by_name, metric) for metric in PANELS}
        if any(curves.values()):
            by_setting[setting] = curves
    if not by_setting:
        raise Missing(f"no trial has outcomes of subsets of its members on the {tables.split} split")
    figure, axes = style.panels(3 * len(by_setting), columns=3, width=3.7, height=3.0)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for index, (setting, curves) in enumerate(by_setting.items()):
        panels, by_name = axes[3 * index : 3 * index + 3], best_by_construction(tables)[setting]
        shown = {
            metric: _draw_panel(ax, curves[metric], f"{tables.split} {PANELS[metric]}", looks)
            for metric, ax in zip(PANELS, panels, strict=True)
        }
        panels[0].set_title(" · ".join(setting))
        names = set(chain.from_iterable(curves.values()))
        shown["dee"] = _draw_equivalents(panels[2], tables, {name: by_name[name] for name in order(names)}, looks)
        data["/".join(setting)] = shown
        keys += keys_of(by_name[name] for name in order(names))
    lines = chain.from_iterable(curves.values() for curves in by_setting.values())
    drawn = set(chain.from_iterable(lines))
    style.draw_legend(figure, {name: look for name, look in looks.items() if name in drawn}, points=True)
    return Drawn(figure, keys, data)


def _member_curves(tables: Tables, by_name: Mapping[str, Configuration], metric: str) -> Curves:
    lines = {}
    for name in order(by_name):
        line = _estimate_sizes(outcomes.by_size(tables, by_name[name].rows, metric))
        if len(line) > 1:
            lines[name] = line
    return lines


def _estimate_sizes(sizes: Mapping[int, Mapping[int, np.ndarray]]) -> dict[int, Estimate]:
    stacked = {size: np.array(list(by_seed.values()), dtype=float) for size, by_seed in sizes.items()}
    return {size: estimate for size, values in stacked.items() if (estimate := estimate_values(values))}


def _draw_panel(ax: Axes, curves: Curves, words: str, looks: Mapping[str, Look]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (name, line) in enumerate(curves.items()):
        sizes, means = list(line), [estimate.mean for estimate in line.values()]
        halves = [estimate.half or 0.0 for estimate in line.values()]
        aside = 0.06 * (number - (len(curves) - 1) / 2)  # bars beside each other
        look = looks[name]
        marks: dict[str, Any] = {"color": look.colour, "marker": look.marker, "ms": 4.5, "capsize": 2}
        ax.errorbar([size + aside for size in sizes], means, halves, lw=1.1, elinewidth=0.8, **marks)
        shown[name] = {"members": sizes, "mean": means, "half": halves}
    ax.set_xlabel("members m")
    ax.set_ylabel(words)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return shown


def _draw_equivalents(
    ax: Axes, tables: Tables, by_name: Mapping[str, Configuration], looks: Mapping[str, Look]
) -> dict[str, str | None]:  # fmt: skip
    shown: dict[str, str | None] = {}
    for name, configuration in by_name.items():
        equivalent = deep_equivalent(tables, configuration) if name != REFERENCE else None
        if equivalent is None:
            continue
        if not shown:
            _deep_curve(ax, _estimate_sizes(deep_curve(tables, configuration)))
        shown[name] = in_text(equivalent)
        _draw_equivalent(ax, tables, configuration, equivalent, looks[name])
    return shown


def _deep_curve(ax: Axes, sizes: Mapping[int, Estimate]) -> None:
    """Draw the deep ensemble's line, straight in 1/m between sizes."""
    inverse = np.array([1 / size for size in sizes])
    at = np.linspace(inverse.min(), inverse.max(), 200)
    means = np.array([estimate.mean for estimate in sizes.values()])
    ax.plot(1 / at, np.interp(at, inverse[::-1], means[::-1]), color=style.GREY, lw=0.9, zorder=1)


def _draw_equivalent(
    ax: Axes, tables: Tables, configuration: Configuration, equivalent: Equivalent, look: Look
) -> None:
    sizes = _estimate_sizes(outcomes.by_size(tables, configuration.rows, LIKELIHOOD))
    if equivalent.members is None or not sizes:
        return
    size, value = max(sizes), sizes[max(sizes)].mean
    if span := drawn_interval(equivalent):
        ax.plot(span, [value, value], color=look.colour, lw=2.5, alpha=0.35, solid_capstyle="butt", zorder=2)
    ax.plot([size, equivalent.members], [value, value], color=look.colour, lw=0.8, ls=(0, (1, 1.5)))
    ax.plot(equivalent.members, value, color=look.colour, marker=look.marker, ms=6, mfc="white", ls="", zorder=4)
