"""Random forests of regression trees, grown together on NumPy arrays: fast for thousands of rows, without an import."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
LEAST_ROWS = 2
"""Minimum number of different rows in a leaf."""


@dataclass(frozen=True)
class Forest:
    """Trees as arrays over their nodes; the first nodes are the roots. `values` are those that it was fitted to."""

    values: Array
    """[rows, columns]."""
    scores: Array
    """[rows]."""
    drawn: Indices
    """How often each tree has drawn each row [trees, rows]."""
    column: Indices
    """Column that a node asks for; −1 in a leaf."""
    threshold: Array
    left: Indices
    """Node of the rows up to the threshold; the next one is that of the others."""
    mean: Array
    """Mean score of a node's rows."""

    def predict(self, trees: Indices, rows: Indices, shuffled: int = -1, sources: Indices | None = None) -> Array:
        """Return what these trees predict for these rows; the values of column `shuffled` are those of `sources`."""
        node = trees.copy()
        open_ = np.flatnonzero(self.column[node] >= 0)
        while open_.size:
            at = node[open_]
            column, asked = self.column[at], rows[open_]
            if sources is not None:
                asked = np.where(column == shuffled, sources[open_], asked)
            at = self.left[at] + (self.values[asked, column] > self.threshold[at])
            node[open_] = at
            open_ = open_[self.column[at] >= 0]
        return self.mean[node]


def fit_forest(values: Array, scores: Array, trees: int, seed: int = 0) -> Forest:
    """Fit trees to bootstrap samples of the rows; each split has the least squared error (Breiman 2001).

    Every column is tried at every split, as in scikit-learn's forest for regression. Of equal splits the first column's
    and lowest is taken.
    """
    rng, rows = np.random.default_rng(seed), len(scores)
    picks = rng.integers(rows, size=(trees, rows)) + rows * np.arange(trees)[:, None]
    return grow_trees(values, scores, np.bincount(picks.ravel(), minlength=trees * rows).reshape(trees, rows))


def grow_trees(values: Array, scores: Array, drawn: Indices) -> Forest:
    """Fit a tree to each sample of the rows, given as counts [trees, rows]. All trees grow by one level at a time."""
    tree, row = np.nonzero(drawn)
    weight, score = drawn[tree, row].astype(float), scores[row]
    node, known = tree.copy(), len(drawn)
    orders = [np.lexsort((column[row], tree)) for column in values.T]
    columns, thresholds, lefts = ([np.full(known, fill)] for fill in (-1, np.nan, -1))
    means = [np.bincount(tree, weight * score) / np.bincount(tree, weight)]
    first = 0
    while len(orders[0]):
        count = known - first
        best, column, threshold = np.full(count, -np.inf), np.full(count, -1), np.full(count, np.nan)
        for index, order in enumerate(orders):
            gains, cuts = _best_cuts(node[order] - first, weight[order], score[order], values[row[order], index], count)
            better = gains > best
            best[better], column[better], threshold[better] = gains[better], index, cuts[better]
        split = np.flatnonzero(column >= 0)
        left = np.full(count, -1)
        left[split] = known + 2 * np.arange(len(split))
        columns[-1], thresholds[-1], lefts[-1] = column, threshold, left
        if not len(split):
            break
        inside = orders[0][column[node[orders[0]] - first] >= 0]
        at = node[inside] - first
        goes_on = np.zeros(len(node), bool)
        goes_on[inside] = True
        node[inside] = left[at] + (values[row[inside], column[at]] > threshold[at])
        orders = [order[goes_on[order]] for order in orders]
        orders = [order[np.argsort(node[order], kind="stable")] for order in orders]
        first, known = known, known + 2 * len(split)
        of = node[inside] - first
        totals = (
            np.bincount(of, part, minlength=known - first) for part in (weight[inside] * score[inside], weight[inside])
        )
        means.append(np.divide(*totals))
        for parts, fill in ((columns, -1), (thresholds, np.nan), (lefts, -1)):
            parts.append(np.full(known - first, fill))
    return Forest(values, scores, drawn, *(np.concatenate(parts) for parts in (columns, thresholds, lefts, means)))


def _best_cuts(node: Indices, weight: Array, score: Array, value: Array, count: int) -> tuple[Array, Array]:
    """Return the best cut of each node along one column, its rows sorted by node and value: gain and threshold.

    The gain of a cut is Σ (sum of scores)² / (sum of weights) over its two sides; −inf where none is possible.
    """
    gains, thresholds = np.full(count, -np.inf), np.full(count, np.nan)
    starts = np.flatnonzero(np.diff(node, prepend=-1))
    sizes = np.diff(starts, append=len(node))
    of = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(node)) - starts[of] + 1
    able = (place >= LEAST_ROWS) & (sizes[of] - place >= LEAST_ROWS)
    able[:-1] &= value[1:] > value[:-1]
    weights, sums = np.cumsum(weight), np.cumsum(weight * score)
    ends = starts + sizes - 1
    before = [np.where(starts > 0, total[starts - 1], 0.0) for total in (weights, sums)]
    whole = [total[ends] - start for total, start in zip((weights, sums), before, strict=True)]
    at = np.flatnonzero(able)
    if not len(at):
        return gains, thresholds
    (w, s), (all_w, all_s) = (
        (total[at] - start[of[at]] for total, start in zip((weights, sums), before, strict=True)),
        (total[of[at]] for total in whole),
    )
    gain = s**2 / w + (all_s - s) ** 2 / (all_w - w)
    leading = np.flatnonzero(np.diff(of[at], prepend=-1))
    highest = np.maximum.reduceat(gain, leading)
    groups = np.repeat(np.arange(len(leading)), np.diff(leading, append=len(at)))
    chosen = np.flatnonzero(gain == highest[groups])
    chosen = chosen[np.diff(groups[chosen], prepend=-1) > 0]
    cut, nodes = at[chosen], node[at[chosen]]
    middle = (value[cut] + value[cut + 1]) / 2
    gains[nodes], thresholds[nodes] = gain[chosen], np.where(middle < value[cut + 1], middle, value[cut])
    return gains, thresholds


def out_of_bag_fits(forest: Forest, shuffles: int, seed: int = 0) -> tuple[float, Array]:
    """Return R² of the rows' predictions by trees that have not drawn them, and R² after shuffles [columns, shuffles].

    A shuffle moves one column's values among all rows; what R² loses is the column's permutation importance.
    """
    rng, (tree, row) = np.random.default_rng(seed), np.nonzero(forest.drawn == 0)
    rows, columns = forest.values.shape
    known = np.bincount(row, minlength=rows) > 0
    spread = ((forest.scores[known] - forest.scores[known].mean()) ** 2).sum()

    def fit_of(predicted: Array) -> float:
        means = np.bincount(row, predicted, minlength=rows)[known] / np.bincount(row, minlength=rows)[known]
        return float(1 - ((forest.scores[known] - means) ** 2).sum() / spread)

    fits = np.empty((columns, shuffles))
    for column in range(columns):
        sources = np.concatenate([rng.permutation(rows)[row] for _ in range(shuffles)])
        predicted = forest.predict(np.tile(tree, shuffles), np.tile(row, shuffles), column, sources)
        fits[column] = [fit_of(part) for part in predicted.reshape(shuffles, -1)]
    return fit_of(forest.predict(tree, row)), fits
