"""Where a gap to the deep ensemble comes from: the members' quality, or what their diversity buys."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, best_by_construction
from analysis.registry import Drawn
from analysis.statistics import Estimate, mean_interval, signed

TITLE = "Where the gap comes from"
WHAT = (
    "NLL of each ensemble minus that of the deep ensemble, split exactly in two: how much worse its members are (mean "
    "member NLL), and how much less their diversity buys (Jensen gap = mean member NLL − ensemble NLL; Abe 2022). "
    "Bars to the right cost likelihood, to the left gain it; the diamond is their sum with its 95 % t interval. "
    "Differences are paired by seed."
)
NEEDS = "python launch.py sweep {sweep}"

PARTS = {"members": ("member_mean_nll", 1.0), "diversity": ("jensen_gap", -1.0), "sum": ("nll", 1.0)}
"""Part of the gap, its metric, and the sign with which it enters."""


def draw(tables: Tables) -> Drawn:
    """One panel a (dataset, model), one bar a construction."""
    found: dict[Setting, dict[str, dict[str, Estimate]]] = {}
    keys: list[str] = []
    for setting, by_name in best_by_construction(tables).items():
        deep = by_name.get("deep")
        for name in style.order(by_name.keys() - {"deep"}):
            parts = deep and _parts(tables, by_name[name], deep)
            if deep and parts:
                found.setdefault(setting, {})[name] = parts
                keys += [*by_name[name].keys, *deep.keys]
    if not found:
        raise Missing("no construction shares a seed with a deep ensemble, both with NLL and Jensen gap")
    most = max(map(len, found.values()))
    figure, axes = style.panels(len(found), columns=2, width=4.8, height=0.9 + 0.42 * most)
    looks = style.looks(tables)
    for ax, (setting, bars) in zip(axes, found.items(), strict=True):
        _panel(ax, bars, looks)
        ax.set_title(" · ".join(setting))
        ax.set_xlabel(f"{tables.split} NLL minus the deep ensemble's (nats)")
    hatched = Patch(fc="white", ec=style.GREY, hatch="////", lw=0.6, label="from their diversity")
    total = Line2D([], [], color="black", marker="D", ms=5, mfc="white", lw=1.1, label="sum")
    style.legend(figure, {}, points=True, more=[Patch(fc=style.GREY, label="from the members"), hatched, total])
    data: dict[str, Any] = {
        "/".join(setting): {
            name: {part: [e.mean, e.half, e.n] for part, e in parts.items()} for name, parts in bars.items()
        }
        for setting, bars in found.items()
    }
    return Drawn(figure, list(dict.fromkeys(keys)), data)


def _parts(tables: Tables, own: Configuration, deep: Configuration) -> dict[str, Estimate]:
    """The parts over the seeds that have all of them: those add up."""
    try:
        columns = {part: tables.column(metric, [*own.rows, *deep.rows]) for part, (metric, _) in PARTS.items()}
    except Missing:
        return {}
    values = {part: (own.by_seed(column), deep.by_seed(column)) for part, column in columns.items()}
    seeds = sorted(set.intersection(*(set(mine) & set(theirs) for mine, theirs in values.values())))
    found = {
        part: mean_interval(PARTS[part][1] * (mine[seed] - theirs[seed]) for seed in seeds)
        for part, (mine, theirs) in values.items()
    }
    return {part: estimate for part, estimate in found.items() if estimate is not None}


def _panel(ax: Axes, bars: dict[str, dict[str, Estimate]], looks: dict[str, style.Look]) -> None:
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
        marks = {"color": "black", "marker": "D", "ms": 5, "mfc": "white", "capsize": 3, "elinewidth": 1.1, "zorder": 4}
        ax.errorbar(total.mean, row, xerr=total.half or 0.0, **marks)
        far = max(ends[True], total.mean + (total.half or 0.0))
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(signed(total.mean, 3), (far, row), **place)
    ax.axvline(0, color=style.KNOWN["deep"].colour, lw=1.0, zorder=3)
    ax.set_yticks(range(len(bars)), [name if p["sum"].n > 1 else f"{name} (1 seed)" for name, p in bars.items()])
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.margins(x=0.16)
    ax.grid(visible=False, axis="y")
