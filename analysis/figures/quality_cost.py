"""Quality against cost: what an ensemble takes to train, and what it is worth."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.equivalent import Worth, deep_like, in_text, worth
from analysis.errors import Missing
from analysis.queries import Configuration, Tables, best_by_construction, estimate, seconds
from analysis.registry import Drawn
from analysis.statistics import mean_interval

TITLE = "Quality against cost"
WHAT = (
    "Accuracy of each construction's configuration (bars: 95 % t interval over seeds) against the passes that its "
    "training took (one batch, one network, forward and backward; a filled marker counts the ensemble's own, a shared "
    "trunk once, a hollow one its teachers' passes and forwards too, three forwards a pass), and against wall seconds: "
    "the trial from start to end, measuring included, and the single runs that it is built from (members, teachers, "
    "trunk), which trials share and of which each is charged the whole. Runs that were made before their seconds were "
    "kept have none: the panel names the constructions that it lacks for that, or says that it is without these runs. "
    "Seconds depend on what else the machine did: to compare what training costs, compare passes. Grey line: deep "
    "ensembles by their number of members. Last panel: how many members of a deep ensemble each is worth (DEE, by "
    "calibrated log-likelihood); there if the results hold deep ensembles of several sizes (launch.py sweep "
    "ensemble-size, then --with ensemble-size)."
)
NEEDS = "python launch.py sweep {sweep}"

Cost = Callable[[dict[str, Any]], float | None]


def draw(tables: Tables) -> Drawn:
    """A row of three panels a (dataset, model): accuracy against passes and seconds, worth against passes."""
    found = {setting: _able(tables, by_name) for setting, by_name in best_by_construction(tables).items()}
    found = {setting: able for setting, able in found.items() if able}
    if not found:
        raise Missing(f"no finished trial has passes and accuracy on the {tables.split} split")
    worths = {key: {name: worth(tables, c) for name, c in able.items()} for key, able in found.items()}
    wide = 3 if any(w for by_name in worths.values() for w in by_name.values()) else 2
    figure, axes = style.panels(wide * len(found), columns=wide, width=3.9, height=3.0)
    data: dict[str, Any] = {}
    for index, (setting, able) in enumerate(found.items()):
        left, middle, *right = axes[wide * index : wide * (index + 1)]
        _sizes(left, tables, next(iter(able.values())))
        data["/".join(setting)] = {"passes": _panel(left, tables, able, _passes, _teachers)}
        data["/".join(setting)]["seconds"] = _times(middle, tables, able)
        left.set_title(" · ".join(setting))
        left.set_xlabel("passes (batches of one network)")
        for ax in right:
            data["/".join(setting)]["dee"] = _worths(ax, tables, able, worths[setting])
    names = {name for able in found.values() for name in able}
    looks = {name: look for name, look in style.looks(tables).items() if name in names}
    hollow = Line2D([], [], ls="", marker="o", color=style.GREY, mfc="white", label="with teachers")
    sizes = Line2D([], [], marker=".", color=style.GREY, lw=1, label="deep by members")
    style.legend(figure, looks, points=True, more=[hollow, sizes])
    return Drawn(figure, [key for able in found.values() for c in able.values() for key in c.keys], data)


def _able(tables: Tables, by_name: dict[str, Configuration]) -> dict[str, Configuration]:
    return {
        name: by_name[name]
        for name in style.order(by_name)
        if estimate(tables, by_name[name], "accuracy") and _mean(by_name[name], _passes) is not None
    }


def _passes(row: dict[str, Any]) -> float | None:
    return row.get("passes")


def _teachers(row: dict[str, Any]) -> float | None:
    """Passes of the teachers' training, and a third of one for each of their forwards."""
    return (row.get("teacher_passes") or 0) + (row.get("teacher_forwards") or 0) / 3


def _mean(configuration: Configuration, cost: Cost) -> float | None:
    found = mean_interval(value for row in configuration.rows if (value := cost(row)) is not None)
    return found.mean if found else None


def _sizes(ax: Axes, tables: Tables, like: Configuration) -> None:
    """Draws deep ensembles of other sizes, each with its number of members."""
    points: dict[int, tuple[float, float]] = {}
    for deep in deep_like(tables, like):
        passes, accuracy = _mean(deep, _passes), estimate(tables, deep, "accuracy")
        if passes is not None and accuracy:
            points[deep.hyperparameters["members"]] = passes, accuracy.mean
    if len(points) > 1:
        ordered = [points[members] for members in sorted(points)]
        ax.plot(*zip(*ordered, strict=True), color=style.GREY, lw=1, marker=".", zorder=1)
        for members, point in points.items():
            place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            ax.annotate(f"{members}", point, color=style.GREY, **place)


def _panel(
    ax: Axes, tables: Tables, able: dict[str, Configuration], cost: Cost, more: Cost | None
) -> dict[str, Any]:  # fmt: skip
    looks, shown = style.looks(tables), {}
    for name, configuration in able.items():
        x, found = _mean(configuration, cost), estimate(tables, configuration, "accuracy")
        if x is None or found is None:
            continue
        look = looks[name]
        total = x + ((more and _mean(configuration, more)) or 0.0)
        if total > x:
            ax.plot([x, total], [found.mean, found.mean], color=look.colour, lw=0.8, ls=(0, (1, 1.5)))
            ax.plot(total, found.mean, color=look.colour, marker=look.marker, ms=6, mfc="white", ls="")
        marks = {"color": look.colour, "marker": look.marker, "ms": 6, "capsize": 2, "elinewidth": 0.8, "zorder": 3}
        ax.errorbar(x, found.mean, found.half or 0.0, mec="white", mew=0.5, **marks)
        shown[name] = {"cost": x, "with_teachers": total, "accuracy": found.mean, "half": found.half}
    ax.set_ylabel(f"{tables.split} accuracy (%)")
    ax.margins(x=0.1)
    ax.set_xlim(left=0)
    return shown


def _times(ax: Axes, tables: Tables, able: dict[str, Configuration]) -> dict[str, Any]:
    """Accuracy against wall time with shared runs; what they took is not known of older ones, and then named."""
    unknown = [name for name, configuration in able.items() if _mean(configuration, seconds) is None]
    whole = len(unknown) < len(able)
    shown = _panel(ax, tables, able, seconds if whole else lambda row: row.get("seconds"), None)
    ax.set_xlabel(f"wall time of a trial, {'with' if whole else 'without'} shared runs (s)")
    if whole and unknown:
        words = f"seconds of shared runs not kept:\n{', '.join(unknown)}"
        ax.set_title(words, fontsize=8, color=style.GREY)
    return shown


def _worths(
    ax: Axes, tables: Tables, able: dict[str, Configuration], worths: dict[str, Worth | None]
) -> dict[str, Any]:  # fmt: skip
    """Deep-ensemble equivalents against passes; an arrow where one lies beyond the curve."""
    looks, shown = style.looks(tables), {}
    for name, configuration in sorted(able.items(), key=lambda item: _mean(item[1], _passes) or 0.0):
        found, x = worths[name], _mean(configuration, _passes)
        if found is None or x is None:
            continue
        look, y = looks[name], found[0] or found[1]
        ax.plot(x, y, color=look.colour, marker=look.marker, ms=6, mec="white", mew=0.5, ls="")
        above = len(shown) % 2 == 0  # neighbours may be worth the same, as a permuted ensemble is what the deep one is
        place = {"xytext": (0, 6 if above else -6), "ha": "center", "va": "bottom" if above else "top"}
        ax.annotate(in_text(found), (x, y), textcoords="offset points", fontsize=7.5, color=look.colour, **place)
        shown[name] = in_text(found)
    if not shown:
        ax.set_axis_off()
        words = "no deep ensembles of several sizes here:\nwhat the others are worth is not known"
        ax.text(0.5, 0.5, words, ha="center", va="center", color=style.GREY, transform=ax.transAxes)
        return shown
    ax.set_xlabel("passes (batches of one network)")
    ax.set_ylabel("worth (deep members, DEE)")
    ax.margins(y=0.15)
    ax.set_xlim(0, 1.25 * ax.dataLim.xmax)
    return shown
