"""Connectivity against ensemble accuracy of every search trial (Figure 3 of Lion et al. 2024)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Row, Setting, Tables, best_by_construction
from analysis.registry import Drawn
from analysis.statistics import mean_interval, pareto_front

TITLE = "Connectivity against accuracy"
WHAT = (
    "Each point is one search trial: mean chord excess q̄ over pairs and paths (0 = perfectly connected) against the "
    "ensemble's accuracy. Ringed: trials (deep ensembles apart) that no other beats in both on validation; the step "
    "line is their front on the split shown. Dashed: accuracy of the deep ensemble, dotted: its members' mean, over "
    "seeds. The x axis is linear between -1 and 1 point, logarithmic beyond. Trials below the frame are counted."
)
NEEDS = "python launch.py sweep STUDY"


def draw(tables: Tables) -> Drawn:
    """One panel a (dataset, model)."""
    searched = [row for row in tables.rows if row["role"] == "search"]
    if not searched:
        raise Missing("no finished search trials")
    settings = [setting for setting in tables.settings if any(_of(row) == setting for row in searched)]
    best = best_by_construction(tables)
    figure, axes = style.panels(1, len(settings), width=5.4, height=3.6)
    data: dict[str, Any] = {}
    keys: list[str] = []
    for ax, setting in zip(axes[0], settings, strict=True):
        rows = [row for row in searched if _of(row) == setting]
        deep = best[setting].get("deep")
        shown = _panel(ax, tables, rows, deep)
        ax.set_title(" · ".join(setting))
        data["/".join(setting)] = shown
        keys += [*shown["key"], *(deep.keys if deep else [])]
    shown_names = {row["construction"] for row in searched}
    looks = {name: look for name, look in style.looks(tables).items() if name in shown_names}
    style.legend(figure, looks, points=True)
    return Drawn(figure, list(dict.fromkeys(keys)), data)


def _of(row: Row) -> Setting:
    return row["dataset"], row["model"]


def _panel(ax: Axes, tables: Tables, rows: list[Row], deep: Configuration | None) -> dict[str, Any]:
    x_column, y_column = tables.column("q_bar", rows), tables.column("accuracy", rows)
    rows = [row for row in rows if row[x_column] is not None and row[y_column] is not None]
    if not rows:
        raise Missing(f"no search trial has both {x_column} and {y_column}")
    xs, ys = [row[x_column] for row in rows], [row[y_column] for row in rows]
    lines = _deep_lines(ax, tables, deep)
    floor = _floor(ys, lines)
    for row, x, y in zip(rows, xs, ys, strict=True):
        look = style.looks(tables)[row["construction"]]
        if y >= floor:
            ax.scatter(x, y, s=26, c=look.colour, marker=look.marker, alpha=0.65, lw=0.4, ec="white", zorder=3)
    front = _front(tables, rows)
    ax.scatter([xs[i] for i in front], [ys[i] for i in front], s=62, fc="none", ec=style.GREY, lw=0.9, zorder=4)
    step = [front[i] for i in pareto_front([(xs[i], ys[i]) for i in front])]
    ax.step([xs[i] for i in step], [ys[i] for i in step], where="pre", c=style.GREY, lw=1.1, zorder=2)
    _axes(ax, xs, ys, floor, lines)
    ax.set_xlabel(style.label(tables, x_column, rf"{tables.split} connectivity $\bar{{q}}$"))
    ax.set_ylabel(style.label(tables, y_column, f"{tables.split} accuracy of the ensemble"))
    names = [row["construction"] for row in rows]
    key = [row["key"] for row in rows]
    points = {"key": key, "construction": names, x_column: xs, y_column: ys}
    return points | {"front": [key[i] for i in step], "deep": lines}


def _front(tables: Tables, rows: list[Row]) -> list[int]:
    """Indices on the validation front: choosing on the reported split would flatter the front."""
    x_column, y_column = (tables.column(metric, rows, "val") for metric in ("q_bar", "accuracy"))
    able = [
        index
        for index, row in enumerate(rows)
        if row["construction"] != "deep" and row[x_column] is not None and row[y_column] is not None
    ]
    return [able[i] for i in pareto_front([(rows[index][x_column], rows[index][y_column]) for index in able])]


def _deep_lines(ax: Axes, tables: Tables, deep: Configuration | None) -> dict[str, float]:
    """Horizontal lines of the deep ensemble and its members, named at the right edge."""
    if deep is None:
        return {}
    found = {}
    for metric in ("accuracy", "member_mean_accuracy", "q_bar"):
        estimate = mean_interval(deep.by_seed(tables.column(metric, deep.rows)).values())
        if estimate:
            found[metric] = estimate.mean
    for metric, dash in (("accuracy", (0, (5, 3))), ("member_mean_accuracy", (0, (1, 2)))):
        ax.axhline(found[metric], color=style.KNOWN["deep"].colour, ls=dash, lw=1.2, zorder=1)
    q_bar = rf", $\bar{{q}}$ = {found['q_bar']:.1f}" if "q_bar" in found else ""
    texts = {"accuracy": f"deep ensemble\n{found['accuracy']:.1f}{q_bar}", "member_mean_accuracy": "its mean member\n"}
    texts["member_mean_accuracy"] += f"{found['member_mean_accuracy']:.1f}"
    for metric, text in texts.items():
        above = metric == "accuracy"
        where = {"xytext": (4, 0), "textcoords": "offset points", "xycoords": ax.get_yaxis_transform()}
        ax.annotate(text, (1, found[metric]), va="bottom" if above else "top", fontsize=7.5, **where)
    return found


def _floor(ys: list[float], lines: dict[str, float]) -> float:
    """Lowest accuracy drawn: failed trials must not flatten the others into one line."""
    ordered = sorted(ys)
    middle, top = ordered[len(ys) // 2], ordered[-1]
    reach = max(4 * (top - middle), 3.0)
    return min([max(ordered[0], middle - reach), *(value for name, value in lines.items() if name != "q_bar")])


def _axes(ax: Axes, xs: list[float], ys: list[float], floor: float, lines: dict[str, float]) -> None:
    ax.set_xscale("symlog", linthresh=1.0, linscale=1.0)
    ax.set_xlim(min(xs) * 1.25 if min(xs) < -1 else -1.2, max(0.5, max(xs) * 1.25 + 0.1))
    ticks = [-100, -30, -10, -3, -1, 0, 1, 3, 10]
    left, right = ax.get_xlim()
    shown = [tick for tick in ticks if left <= tick <= right]
    ax.set_xticks(shown, [str(tick).replace("-", "−") for tick in shown])
    ax.xaxis.set_minor_locator(NullLocator())
    top = max([*ys, *(value for name, value in lines.items() if name != "q_bar")])
    pad = 0.06 * max(top - floor, 1.0)
    ax.set_ylim(floor - pad, top + pad)
    hidden = sum(y < floor for y in ys)
    if hidden:
        words = f"{hidden} trial{'s' if hidden > 1 else ''} below, down to {min(ys):.0f}"
        ax.annotate(words, (0.02, 0.02), xycoords="axes fraction", fontsize=7.5, color=style.GREY)
