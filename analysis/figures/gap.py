"""Decomposition of the NLL gap to the deep ensemble into the members' quality and their diversity."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.answers.differences import estimate_values, paired_samples
from analysis.answers.words import counted, enough_seeds, signed
from analysis.constructions import REFERENCE, order
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.style import Look
from stats.intervals import Estimate

TITLE = "Where the gap comes from"
QUESTION = "What does connectivity cost?"
WHAT = (
    "NLL of each ensemble minus that of the deep ensemble, an exact sum of two parts: the difference of the members' "
    "mean NLL and the difference in diversity (Jensen gap = mean member NLL − ensemble NLL; Abe 2022). Bars to the "
    "right cost likelihood, bars to the left gain it; the diamond is the sum with its 95 % interval over seeds and "
    "images. Differences are paired by seed and image."
)
NEEDS = "quickstart"

PARTS = {"members": ("member_mean_nll", 1.0), "diversity": ("jensen_gap", -1.0), "sum": ("nll", 1.0)}
"""Part of the gap, its metric, and the sign with which it enters."""


def draw(tables: Tables) -> Drawn:
    """Draw one panel per (dataset, model), with one bar per construction."""
    by_setting: dict[Setting, dict[str, dict[str, Estimate]]] = {}
    keys: list[str] = []
    for setting, by_name in best_by_construction(tables).items():
        deep = by_name.get(REFERENCE)
        for name in order(by_name.keys() - {REFERENCE}):
            parts = deep and _gap_parts(tables, by_name[name], deep)
            if deep and parts:
                by_setting.setdefault(setting, {})[name] = parts
                keys += [*by_name[name].keys, *deep.keys]
    if not by_setting:
        raise Missing("no construction shares a seed with a deep ensemble, both with NLL and Jensen gap")
    most = max(map(len, by_setting.values()))
    figure, axes = style.panels(len(by_setting), columns=2, width=4.8, height=0.9 + 0.42 * most)
    looks = style.looks(tables)
    for ax, (setting, bars) in zip(axes, by_setting.items(), strict=True):
        _draw_panel(ax, bars, looks)
        ax.set_title(" · ".join(setting))
        ax.set_xlabel(f"{tables.split} NLL minus the deep ensemble's (nats)")
    hatched = Patch(fc="white", ec=style.GREY, hatch="////", lw=0.6, label="from their diversity")
    total = Line2D([], [], color="black", marker="D", ms=5, mfc="white", lw=1.1, label="sum")
    style.draw_legend(figure, {}, points=True, more=[Patch(fc=style.GREY, label="from the members"), hatched, total])
    data: dict[str, Any] = {
        "/".join(setting): {
            name: {part: [e.mean, e.half, e.n] for part, e in parts.items()} for name, parts in bars.items()
        }
        for setting, bars in by_setting.items()
    }
    return Drawn(figure, list(dict.fromkeys(keys)), data)


def _gap_parts(tables: Tables, configuration: Configuration, deep: Configuration) -> dict[str, Estimate]:
    """Estimate the parts over the seeds that have all of them, so that they add up."""
    metrics = [metric for metric, _ in PARTS.values()]
    values_of = paired_samples(tables, [configuration] * len(PARTS) + [deep] * len(PARTS), metrics * 2)
    if values_of is None:
        return {}
    values = zip(PARTS, values_of[: len(PARTS)], values_of[len(PARTS) :], strict=True)
    parts = {part: estimate_values(PARTS[part][1] * (mine - theirs)) for part, mine, theirs in values}
    return {part: estimate for part, estimate in parts.items() if estimate is not None}


def _draw_panel(ax: Axes, bars: dict[str, dict[str, Estimate]], looks: dict[str, Look]) -> None:
    for row, (name, parts) in enumerate(bars.items()):
        ends = {True: 0.0, False: 0.0}
        for part in ("members", "diversity"):
            mean = parts[part].mean
            hatch = "////" if part == "diversity" else None
            face = "white" if hatch else looks[name].colour
            edge = looks[name].colour
            ax.barh(row, mean, left=ends[mean > 0], height=0.55, fc=face, ec=edge, hatch=hatch, lw=0.8, zorder=2)
            ends[mean > 0] += mean
        total = parts["sum"]
        marks: dict[str, Any] = {"color": "black", "marker": "D", "ms": 5, "mfc": "white", "capsize": 3}
        ax.errorbar(total.mean, row, xerr=total.half or 0.0, elinewidth=1.1, zorder=4, **marks)
        far = max(ends[True], total.mean + (total.half or 0.0))
        place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(signed(total.mean, 3), (far, row), **place)
    ax.axvline(0, color=style.KNOWN[REFERENCE].colour, lw=1.0, zorder=3)
    few = {name: "" if enough_seeds(p["sum"]) else f" ({counted(p['sum'].n, 'seed')})" for name, p in bars.items()}
    ax.set_yticks(range(len(bars)), [name + note for name, note in few.items()])
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.margins(x=0.16)
    ax.grid(visible=False, axis="y")
