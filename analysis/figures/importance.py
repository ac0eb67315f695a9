"""Importance of the hyperparameters for accuracy and for connectivity."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.constructions import order
from analysis.data.queries import Row, Tables, evaluation_names, hyperparameter_names
from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import Drawn
from basin.api.style import Look

TITLE = "Importance of hyperparameters"
QUESTION = "Which hyperparameters matter?"
WHAT = (
    "Permutation importance (Breiman 2001) of the searched hyperparameters: the loss of R² when one of them is "
    "shuffled among trials, for a random forest that predicts a validation score from the trials of a search or grid. "
    "Bars: standard deviation over 6 shuffles. The title gives the forest's out-of-bag R²; at or below 0 the forest "
    "has learned nothing and its importances mean nothing."
)
NEEDS = "quickstart --trials 40"
LEAST = 10
"""Minimum number of trials of a construction for a fit."""
MOST = 2000
"""Maximum number of trials in a fit; of more, every n-th by key is used."""
TREES = 60
SHUFFLES = 6


def draw(tables: Tables) -> Drawn:
    """Draw a row of two panels per (dataset, model) and construction: accuracy, connectivity."""
    fitted: dict[str, tuple[list[Row], list[str]]] = {}
    for setting in tables.settings:
        for name in order(tables.constructions):
            of = (*setting, name)
            rows = [r for r in tables.rows if (r["dataset"], r["model"], r["construction"]) == of]
            rows = [r for r in rows if r["role"] in ("search", "grid")]
            varied = _varied_names(tables, rows)
            if len(rows) >= LEAST and varied:
                fitted[" · ".join(setting) + f": {name}"] = rows[:: -(-len(rows) // MOST)], varied
    if not fitted:
        raise Missing(f"no construction has {LEAST} trials of a search or grid in which a hyperparameter varies")
    most = max(len(varied) for _, varied in fitted.values())
    figure, axes = style.panels(2 * len(fitted), columns=2, width=4.4, height=1.0 + 0.27 * most)
    looks = style.looks(tables)
    data: dict[str, Any] = {}
    for left, right, (title, (rows, varied)) in zip(axes[::2], axes[1::2], fitted.items(), strict=True):
        look = looks[title.rpartition(": ")[2]]
        for ax, metric, words in ((left, "accuracy", "accuracy"), (right, "q_bar", r"$\bar{q}$")):
            shown = _permutation_importance(tables, rows, varied, metric)
            _draw_bars(ax, shown, look)
            score = "" if shown["r2"] is None else f", R² = {shown['r2']:.2f}".replace("-", "−")
            ax.set_title(f"{title}\nvalidation {words}, {len(rows)} trials{score}", fontsize=8.5)
            data[f"{title}, {metric}"] = shown
    drawn = chain.from_iterable(rows for rows, _ in fitted.values())
    return Drawn(figure, [row["key"] for row in drawn], data)


def _varied_names(tables: Tables, rows: list[Row]) -> list[str]:
    """Return the numeric hyperparameters with more than one value, without those of the evaluation."""
    measuring = evaluation_names(tables.trials.schema)
    names = [name for name in hyperparameter_names(tables.trials.schema) if name not in measuring]
    return [name for name in names if _varies([row[name] for row in rows])]


def _varies(values: Sequence[Any]) -> bool:
    """Tell whether values are numbers, all known, and not all the same."""
    return len(set(values)) > 1 and all(isinstance(value, (int, float)) for value in values)


def _permutation_importance(tables: Tables, rows: list[Row], varied: list[str], metric: str) -> dict[str, Any]:
    # It takes seconds to import, and no other figure needs it.
    from sklearn.ensemble import RandomForestRegressor  # type: ignore[import-untyped]

    try:
        column = tables.column(metric, rows, "val")
    except Missing:
        return {"names": varied, "mean": [0.0] * len(varied), "deviation": [0.0] * len(varied), "r2": None}
    rows = [row for row in rows if row[column] is not None]
    # Ranks: a trial that failed by 40 points must not be all that the forest learns.
    scores = np.argsort(np.argsort([row[column] for row in rows])).astype(float)
    values = np.array([[float(row[name]) for name in varied] for row in rows])
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, oob_score=True, random_state=0).fit(values, scores)
    lost = lost_scores(forest, values, scores)
    return {
        "names": varied,
        "mean": lost.mean(axis=1).round(4).tolist(),
        "deviation": lost.std(axis=1).round(4).tolist(),
        "r2": round(float(forest.oob_score_), 3),
    }


def lost_scores(forest: Any, values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return what R² a fitted forest loses when one column of `values` [rows, columns] is shuffled [columns, shuffles].

    The numbers are those of `sklearn.inspection.permutation_importance`, which asks the forest once for each shuffle;
    here it is asked once, since most of the time of a call does not depend on the number of rows.
    """
    rows, columns = values.shape
    rng = np.random.RandomState(np.random.RandomState(0).randint(np.iinfo(np.int32).max + 1))
    shuffled = np.tile(values, (columns, SHUFFLES, 1, 1))
    order, place = np.arange(rows), np.arange(rows)
    for shuffle in range(SHUFFLES):
        rng.shuffle(order)
        place = place[order]  # each shuffle is of the one before
        for column in range(columns):
            shuffled[column, shuffle, :, column] = values[place, column]
    asked = np.concatenate([values[None], shuffled.reshape(-1, rows, columns)]).reshape(-1, columns)
    predicted = forest.predict(asked).reshape(-1, rows)
    fits = 1 - ((scores - predicted) ** 2).sum(axis=1) / ((scores - scores.mean()) ** 2).sum()
    return np.asarray(fits[0] - fits[1:].reshape(columns, SHUFFLES))


def _draw_bars(ax: Axes, shown: dict[str, Any], look: Look) -> None:
    names, means, deviations = shown["names"], shown["mean"], shown["deviation"]
    order = np.argsort(means)
    colour = look.colour if shown["r2"] is not None and shown["r2"] > 0 else style.mix_with_white(look.colour, 0.7)
    bars: dict[str, Any] = {"color": colour, "height": 0.6, "error_kw": {"elinewidth": 0.8, "capsize": 2}}
    ax.barh(range(len(names)), [means[i] for i in order], xerr=[deviations[i] for i in order], **bars)
    ax.set_yticks(range(len(names)), [names[i] for i in order])
    ax.set_xlim(left=min(0.0, *means))
    ax.set_xlabel("loss of R² when shuffled")
    ax.grid(visible=False, axis="y")
