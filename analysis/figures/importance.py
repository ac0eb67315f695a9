"""Which hyperparameters matter for accuracy and which for connectivity."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis import style
from analysis.errors import Missing
from analysis.queries import EVALUATION, Row, Tables, hyperparameters
from analysis.registry import Drawn

TITLE = "Importance of hyperparameters"
WHAT = (
    "How much a forest of trees that predicts a validation score from the searched hyperparameters loses when one of "
    "them is shuffled among trials (permutation importance, Breiman 2001, in units of R², bars: standard deviation "
    "over 6 shuffles), over the trials of a search or grid. The title says the forest's R² on trials that each tree "
    "has not seen; near or below 0 it has learned nothing, and neither does the figure say anything."
)
NEEDS = "python launch.py sweep {sweep} --trials 40"
LEAST = 10
"""Trials of a construction below which nothing is fitted."""
MOST = 2000
"""Trials that are fitted at most, every n-th by key."""
TREES = 60


def draw(tables: Tables) -> Drawn:
    """A row of two panels a (dataset, model) and construction: accuracy, connectivity."""
    found: dict[str, tuple[list[Row], list[str]]] = {}
    for setting in tables.settings:
        for name in style.order(tables.constructions):
            of = (*setting, name)
            rows = [r for r in tables.rows if (r["dataset"], r["model"], r["construction"]) == of]
            rows = [r for r in rows if r["role"] in ("search", "grid")]
            varied = _varied(tables, rows)
            if len(rows) >= LEAST and varied:
                found[" · ".join(setting) + f": {name}"] = rows[:: -(-len(rows) // MOST)], varied
    if not found:
        raise Missing(f"no construction has {LEAST} trials of a search or grid in which a hyperparameter varies")
    most = max(len(varied) for _, varied in found.values())
    figure, axes = style.panels(2 * len(found), columns=2, width=4.4, height=1.0 + 0.27 * most)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, (title, (rows, varied)) in zip(axes[::2], axes[1::2], found.items(), strict=True):
        look = looks[title.rpartition(": ")[2]]
        for ax, metric, words in ((left, "accuracy", "accuracy"), (right, "q_bar", r"$\bar{q}$")):
            shown = _importance(tables, rows, varied, metric)
            _bars(ax, shown, look)
            score = "" if shown["r2"] is None else f", R² = {shown['r2']:.2f}".replace("-", "−")
            ax.set_title(f"{title}\nvalidation {words}, {len(rows)} trials{score}", fontsize=8.5)
            data[f"{title}, {metric}"] = shown
    return Drawn(figure, [row["key"] for rows, _ in found.values() for row in rows], data)


def _varied(tables: Tables, rows: list[Row]) -> list[str]:
    """Numeric hyperparameters with more than one value, but for how a trial is measured."""
    return [
        name
        for name in hyperparameters(tables.trials.schema)
        if name not in EVALUATION
        and len(values := {row[name] for row in rows} - {None}) > 1
        and all(isinstance(value, (int, float)) for value in values)
        and all(row[name] is not None for row in rows)
    ]


def _importance(tables: Tables, rows: list[Row], varied: list[str], metric: str) -> dict[str, Any]:
    # Both take seconds to import, and no other figure needs them.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    try:
        column = tables.column(metric, rows, "val")
    except Missing:
        return {"names": varied, "mean": [0.0] * len(varied), "deviation": [0.0] * len(varied), "r2": None}
    rows = [row for row in rows if row[column] is not None]
    # Ranks: a trial that failed by 40 points must not be all that the forest learns.
    scores = np.argsort(np.argsort([row[column] for row in rows])).astype(float)
    values = np.array([[float(row[name]) for name in varied] for row in rows])
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, oob_score=True, random_state=0).fit(values, scores)
    found = permutation_importance(forest, values, scores, n_repeats=6, random_state=0)
    return {
        "names": varied,
        "mean": found.importances_mean.round(4).tolist(),
        "deviation": found.importances_std.round(4).tolist(),
        "r2": round(float(forest.oob_score_), 3),
    }


def _bars(ax: Axes, shown: dict[str, Any], look: style.Look) -> None:
    names, means, deviations = shown["names"], shown["mean"], shown["deviation"]
    order = np.argsort(means)
    colour = look.colour if shown["r2"] is not None and shown["r2"] > 0 else style.tint(look.colour, 0.7)
    bars = {"color": colour, "height": 0.6, "error_kw": {"elinewidth": 0.8, "capsize": 2}}
    ax.barh(range(len(names)), [means[i] for i in order], xerr=[deviations[i] for i in order], **bars)
    ax.set_yticks(range(len(names)), [names[i] for i in order])
    ax.set_xlim(left=min(0.0, *means))
    ax.set_xlabel("loss of R² when shuffled")
    ax.grid(visible=False, axis="y")
