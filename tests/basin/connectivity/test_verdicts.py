"""Shortfalls and bounds from the logits of plain modules; which pairs are measured and judged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from basin import stack
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.hull import hull_rows
from basin.connectivity.pairs import Pairs, choose_pairs, claimed_pairs
from basin.connectivity.paths import alpha_grid
from basin.connectivity.probe import Probe
from basin.connectivity.verdicts import hull_bounds, hull_shortfalls, mid_upper, path_bounds, path_shortfalls
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.constructions.permuted import Permuted
from basin.ensemble import Edge, Ensemble, all_pairs, chain_pairs, star_pairs
from basin.prediction import reestimate_batchnorm
from basin.task import Task
from stats.verdicts import bounds
from tests.support.tiny_trial import MODELS, fresh, grown, module, task

Row = tuple[float, ...]


def probe(work: Task, thetas: stack.Stack) -> Probe:
    return Probe(MixingContext(work.network, thetas, work.data, 80), {"val": work.data.val, "test": work.data.test})


def by_hand(work: Task, kind: str, thetas: stack.Stack, row: Row, policy: str, split: str) -> tuple[np.ndarray, ...]:
    """Correctness and loss of each image, by a plain module with the mixed weights."""
    params = {
        name: sum(w * t[k] for k, w in enumerate(row)) if t.is_floating_point() else t[0] for name, t in thetas.items()
    }
    if policy == "reset":
        params = stack.network_at(reestimate_batchnorm(work.network, stack.stack_networks([params]), work.data, 80), 0)
    images = getattr(work.data, split)
    with torch.no_grad():
        pixels = work.data.normalise(images.take(torch.arange(len(images)))[0])
        logits = module(work, MODELS[kind], params).eval()(pixels)
    losses = F.cross_entropy(logits, images.labels, reduction="none")
    return (logits.argmax(dim=1) == images.labels).double().numpy(), losses.double().numpy()


def lost(work: Task, kind: str, thetas: stack.Stack, row: Row, policy: str, split: str) -> tuple[np.ndarray, ...]:
    """Accuracy and loss shortfall of each image, sums written out."""
    units = np.eye(len(row)).tolist()
    ends = [by_hand(work, kind, thetas, tuple(unit), policy, split) for unit in units]
    hits, losses = by_hand(work, kind, thetas, row, policy, split)
    chord = [sum(w * ends[k][which] for k, w in enumerate(row)) for which in (0, 1)]
    return 100 * (chord[0] - hits), losses - chord[1]


@pytest.fixture
def work(tmp_path: Path, cache: Path) -> Task:
    return task(tmp_path, cache, **MODELS["batch"])


@pytest.fixture
def thetas(work: Task) -> stack.Stack:
    return stack.join_stacks([work.stages.state(k).thetas for k in range(3)])


@pytest.mark.parametrize("policy", ["reset", "interp"])
def test_path_shortfalls_are_those_of_plain_modules(policy: str, work: Task, thetas: stack.Stack) -> None:
    found = path_shortfalls(probe(work, thetas), [(0, 2), (1, 2)], alphas=alpha_grid(5), policy=policy)
    for split in ("val", "test"):
        assert found[split].accuracy.shape == found[split].loss.shape == (2, 3, 60)
        for p, (i, j) in enumerate([(0, 2), (1, 2)]):
            for a, alpha in enumerate((0.25, 0.5, 0.75)):
                row = [0.0] * 3
                row[i], row[j] = 1 - alpha, alpha
                accuracy, loss = lost(work, "batch", thetas, tuple(row), policy, split)
                np.testing.assert_allclose(found[split].accuracy[p, a], accuracy, atol=1e-9)
                np.testing.assert_allclose(found[split].loss[p, a], loss, atol=1e-4)
    assert np.abs(found["val"].accuracy).max() > 0


def test_hull_shortfalls_pair_the_centroid_with_each_random_point(work: Task, thetas: stack.Stack) -> None:
    found = hull_shortfalls(probe(work, thetas), points=2, policy="reset")["test"]
    rows = hull_rows(3, 2).tolist()
    for p in range(2):
        for a, row in enumerate((rows[0], rows[1 + p])):
            accuracy, loss = lost(work, "batch", thetas, tuple(row), "reset", "test")
            np.testing.assert_allclose(found.accuracy[p, a], accuracy, atol=1e-9)
            np.testing.assert_allclose(found.loss[p, a], loss, atol=1e-4)
    alone = hull_shortfalls(probe(work, thetas), points=0, policy="reset")["test"]
    assert alone.accuracy.shape == (1, 1, 60)
    assert np.array_equal(alone.accuracy[0, 0], found.accuracy[0, 0])


def test_bounds_are_those_of_the_judged_pairs(work: Task, thetas: stack.Stack) -> None:
    asked, pairs = probe(work, thetas), [(0, 1), (0, 2)]
    found = path_bounds(asked, pairs, alphas=alpha_grid(5), policies=("reset", "interp"))
    found |= hull_bounds(asked, points=2, policies=("reset", "interp"))
    assert len(found) == 2 * 2 * 8
    for policy in ("reset", "interp"):
        paths = path_shortfalls(asked, pairs, alphas=alpha_grid(5), policy=policy)
        hulls = hull_shortfalls(asked, points=2, policy=policy)
        for split in ("val", "test"):
            for own, accuracy, loss in ((paths[split], "basin", "loss"), (hulls[split], "hull", "hull_loss")):
                points, nats = bounds(own.accuracy[None], worst=100), bounds(own.loss[None], worst=None)
                assert found[f"{split}_{accuracy}_upper_{policy}"] == points.upper
                assert found[f"{split}_{accuracy}_lower_{policy}"] == points.lower
                assert found[f"{split}_{loss}_upper_{policy}"] == nats.upper
                assert found[f"{split}_{loss}_lower_{policy}"] == nats.lower
    every = path_bounds(asked, all_pairs(3), alphas=alpha_grid(5), policies=("reset",))
    assert every["val_loss_upper_reset"] != found["val_loss_upper_reset"]


def test_the_upper_bound_is_student_s_with_one_worst_image_added(work: Task, thetas: stack.Stack) -> None:
    from scipy.stats import t

    asked = probe(work, thetas)
    each = path_shortfalls(asked, all_pairs(3), alphas=(0.5,), policy="reset")["val"].accuracy.mean(axis=(0, 1))
    longer = np.append(each, 100.0)
    expected = longer.mean() + t.ppf(0.95, 60) * longer.std(ddof=1) / np.sqrt(61)
    assert mid_upper(asked, all_pairs(3))["val_basin_mid_upper_reset"] == pytest.approx(expected)
    by_paths = path_bounds(asked, all_pairs(3), alphas=alpha_grid(3), policies=("reset",))
    assert by_paths["val_basin_upper_reset"] == pytest.approx(expected)


def test_without_pairs_there_are_no_bounds(work: Task, thetas: stack.Stack) -> None:
    assert path_bounds(probe(work, thetas), [], alphas=alpha_grid(3), policies=("reset",)) == {}
    assert mid_upper(probe(work, thetas), []) == {}


def ensemble(work: Task, count: int, edges: tuple[Edge, ...] = ()) -> Ensemble:
    return Ensemble.of_members(fresh(work.network, count), edges)


def test_a_construction_is_judged_on_what_it_claims(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert claimed_pairs(ensemble(work, 4)) == all_pairs(4)
    assert claimed_pairs(ensemble(work, 4, star_pairs(4))) == ((0, 1), (0, 2), (0, 3))
    assert claimed_pairs(ensemble(work, 4, chain_pairs(4))) == ((0, 1), (1, 2), (2, 3))
    assert claimed_pairs(ensemble(work, 3, ((2, 0), (0, 2)))) == ((0, 2),)
    assert claimed_pairs(grown(work, Deep(members=3))) == all_pairs(3)
    assert claimed_pairs(grown(work, Permuted(members=3))) == all_pairs(3)
    assert claimed_pairs(grown(work, Constrained(members=3, constraint="star"))) == star_pairs(3)
    assert claimed_pairs(ensemble(work, 1)) == ()


def test_edges_join_vertices_and_count_where_these_are_members(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    vertices = fresh(work.network, 4)
    # Members: vertex 2, vertex 0, and a mixture of 1 and 3.
    coords = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0.5, 0, 0.5]], dtype=torch.float64)
    assert claimed_pairs(Ensemble(vertices, coords, ((0, 2), (1, 3), (2, 3)))) == ((0, 1),)
    assert claimed_pairs(Ensemble(vertices, coords, ((1, 3),))) == all_pairs(3)


@pytest.mark.parametrize("count", [1, 3, 5, 9, 20])
def test_chosen_pairs_are_seeded_and_the_claimed_come_first(count: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = choose_pairs(ensemble(work, 6, star_pairs(6)), count, seed=3)
    assert found == choose_pairs(ensemble(work, 6, star_pairs(6)), count, seed=3)
    assert len(found.measured) == len(set(found.measured)) == min(count, 15)
    assert list(found.measured) == sorted(found.measured)
    assert found.judged == tuple(pair for pair in found.measured if 0 in pair)
    assert len(found.judged) == min(count, 5)
    others = {choose_pairs(ensemble(work, 6, star_pairs(6)), count, seed=seed) for seed in range(20)}
    assert (len(others) > 1) == (count not in (5, 20))


def test_none_takes_every_pair(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert choose_pairs(ensemble(work, 4, chain_pairs(4)), None, 0) == Pairs(all_pairs(4), ((0, 1), (1, 2), (2, 3)))
    five = choose_pairs(ensemble(work, 6), 5, 0)
    assert five.measured == five.judged
    assert len(five.judged) == 5
