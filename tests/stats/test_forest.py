"""Random forests against scikit-learn's trees and forests, and permutation importance on known functions."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from stats.forest import fit_forest, grow_trees, out_of_bag_fits


def made_up(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(rows, columns))
    return values, np.sin(5 * values[:, 0]) + values[:, -1] ** 2 + 0.3 * rng.normal(size=rows)


@pytest.mark.parametrize("columns", [1, 3])
def test_trees_are_those_of_scikit_learn(columns):
    values, scores = made_up(80, columns)
    values[:, 0] = np.float32(values[:, 0].round(1))  # ties
    values = values.astype(np.float32).astype(float)  # as scikit-learn rounds them
    drawn = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), size=5)
    forest = grow_trees(values, scores, drawn)
    everyone = np.arange(80)
    for index, weights in enumerate(drawn):
        tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0)
        tree.fit(values[weights > 0], scores[weights > 0], sample_weight=weights[weights > 0])
        mine = forest.predict(np.full(80, index), everyone)
        same = np.isclose(mine, tree.predict(values), atol=1e-9)
        assert same.mean() >= (1 if columns == 1 else 0.9)  # of equal splits in two columns it takes one at random


def test_the_fit_on_rows_that_a_tree_has_not_seen_is_that_of_scikit_learn():
    values, scores = made_up(200, 3)
    theirs = RandomForestRegressor(200, min_samples_leaf=2, oob_score=True, random_state=0).fit(values, scores)
    fit, _ = out_of_bag_fits(fit_forest(values, scores, trees=200), shuffles=1)
    assert fit == pytest.approx(theirs.oob_score_, abs=0.02)


def test_a_column_matters_as_far_as_the_scores_follow_it():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(300, 3))
    scores = 2 * values[:, 0] + values[:, 1]
    fit, shuffled = out_of_bag_fits(fit_forest(values, scores, trees=60), shuffles=6)
    much, some, none = (fit - shuffled).mean(axis=1)
    assert fit > 0.95
    shares = (2 * values[:, 0]).var() / scores.var(), values[:, 1].var() / scores.var()
    assert (much, some) == pytest.approx((2 * shares[0], 2 * shares[1]), abs=0.15)  # twice the share of the variance
    assert abs(none) < 0.02


def test_noise_has_no_fit_and_no_importance():
    rng = np.random.default_rng(0)
    fit, shuffled = out_of_bag_fits(fit_forest(rng.uniform(size=(200, 2)), rng.normal(size=200), trees=60), shuffles=6)
    assert fit < 0.05
    assert np.abs((fit - shuffled).mean(axis=1)).max() < 0.2


def test_rows_that_cannot_be_told_apart_are_one_leaf():
    forest = grow_trees(np.zeros((6, 1)), np.arange(6.0), np.ones((1, 6), int))
    assert forest.column.tolist() == [-1]
    assert forest.mean.tolist() == [2.5]


def test_the_same_seed_gives_the_same_forest():
    values, scores = made_up(50, 2)
    first, second = (out_of_bag_fits(fit_forest(values, scores, trees=10), shuffles=2) for _ in range(2))
    assert first[0] == second[0]
    assert (first[1] == second[1]).all()
