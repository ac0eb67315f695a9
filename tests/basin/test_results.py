"""Results of each image: ensembles of every size, soup, members and mixtures against plain sums."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from basin import stack
from basin.connectivity.hull import hull_rows
from basin.constructions.constrained import Constrained
from basin.constructions.permuted import Permuted
from basin.ensemble import Ensemble, chain_pairs
from basin.measure import SOUP, Evaluation, Measured, measure_ensemble, validate_ensemble
from basin.metrics import all_metrics
from basin.metrics.temperature import calibrated_log_likelihood
from basin.prediction import predict, reestimate_batchnorm
from basin.results import ImageResults, member_subsets
from basin.task import Task
from tests.support.tiny_trial import MODELS, fresh, grown, module, task


def found(work: Task, ensemble: Ensemble, **changes: object) -> Measured:
    return measure_ensemble(work, ensemble, Evaluation(**{"alphas": 5, "hull_points": 2, "bn_images": 50, **changes}))  # type: ignore[arg-type]


def rows(results: Measured, kind: str, split: str = "test") -> list[ImageResults]:
    return [own for own in results.outcomes if (own.kind, own.split) == (kind, split)]


def trained(work: Task, count: int) -> Ensemble:
    return Ensemble.of_members(stack.join_stacks([work.stages.state(k).thetas for k in range(count)]))


@pytest.mark.parametrize("kind", ["batch", "layer"])
@pytest.mark.parametrize("policies", ["reset", "all"])
def test_one_network_falls_short_of_itself_by_exactly_nothing(
    kind: str, policies: str, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    ensemble = grown(work, Constrained(members=4, t=1.0))
    results = found(work, ensemble, policies=policies, alphas=11, hull_points=8)
    zero = {"q_bar", "q_min", "q_star", "barrier", "instability", "loss_barrier", "loss_upper", "loss_lower"}
    zero |= {"centroid_gap", "hull_gap", "hull_min", "hull_loss_upper", "hull_loss_lower"}
    used = {"layer": {"reset"}, "batch": {"reset"} if policies == "reset" else {"reset", "interp", "repair"}}[kind]
    for split in ("val", "test"):
        for policy in used:
            assert {results.scores[f"{split}_{name}_{policy}"] for name in zero} == {0.0}
            assert results.scores[f"{split}_basin_lower_{policy}"] < 0
            assert 0 < results.scores[f"{split}_basin_upper_{policy}"] < 5  # one worst image of 61
    mixed = [*rows(results, "path"), *rows(results, "hull")]
    assert len(mixed) == 4 + 6 * 9 + 9
    assert all(np.array_equal(own.correct, mixed[0].correct) for own in mixed)  # type: ignore[arg-type]
    assert all(np.array_equal(own.nll, mixed[0].nll) for own in mixed)
    assert validate_ensemble(work, ensemble, Evaluation(alphas=3))["val_q_mid_reset"] == 0


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_the_soup_is_one_network_with_averaged_weights(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    ensemble = trained(work, 3)
    results = found(work, ensemble, path_images=20)
    params = {
        name: (t[0] + t[1] + t[2]) / 3 if t.is_floating_point() else t[0] for name, t in ensemble.vertices.items()
    }
    plain = module(
        work,
        MODELS[kind],
        stack.network_at(reestimate_batchnorm(work.network, stack.stack_networks([params]), work.data, 50), 0),
    ).eval()
    for split in ("val", "test"):
        images = getattr(work.data, split)
        with torch.no_grad():
            logits = plain(work.data.normalise(images.take(torch.arange(60))[0]))
        (own,) = rows(results, "soup", split)
        assert (own.policy, own.weights, own.size) == ("reset", (1 / 3,) * 3, None)
        hits = logits.argmax(dim=1) == images.labels
        assert own.correct is not None
        assert own.correct.tolist() == hits.tolist()  # all images, not the sample of the paths
        losses = F.cross_entropy(logits, images.labels, reduction="none")
        np.testing.assert_allclose(own.nll, losses.numpy(), rtol=1e-3, atol=1e-5)
        assert results.scores[f"{split}_soup_accuracy"] == pytest.approx(100 * float(hits.double().mean()))
        assert results.scores[f"{split}_soup_nll"] == pytest.approx(float(losses.mean()), rel=1e-4)
        said = torch.log_softmax(logits.double(), dim=1)[None]
        for name in SOUP:
            expected = all_metrics()[name].compute(said, images.labels)
            assert results.scores[f"{split}_soup_{name}"] == pytest.approx(expected, rel=1e-3)
    assert {name for name in results.scores if "_soup_" in name} == {
        f"{split}_soup_{name}" for split in ("val", "test") for name in SOUP
    }


def test_the_soup_of_one_network_is_itself(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    results = found(work, trained(work, 1))
    assert {own.kind for own in results.outcomes} == {"member", "size", "ensemble", "soup"}
    for split in ("val", "test"):
        for name in SOUP:
            assert results.scores[f"{split}_soup_{name}"] == results.scores[f"{split}_{name}"]
        (own,), (member,) = rows(results, "soup", split), rows(results, "member", split)
        assert own.weights == member.weights == (1.0,)
        assert np.array_equal(own.nll, member.nll)


def test_sizes_are_means_over_subsets_of_the_members(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = trained(work, 3)
    results = found(work, ensemble)
    probs = predict(work.network, ensemble.vertices, work.data.test, work.data).double().exp()
    labels = work.data.test.labels
    for own, size in zip(rows(results, "size"), (1, 2, 3), strict=True):
        hits, losses, calibrated = [], [], []
        for some in combinations(range(3), size):
            mean = sum(probs[k] for k in some) / size
            hits.append((mean.argmax(dim=1) == labels).double())
            losses.append(-mean.gather(1, labels[:, None])[:, 0].log())
            calibrated.append(calibrated_log_likelihood(mean.log()[None], labels))
        assert (own.size, own.correct, own.weights) == (size, None, None)
        np.testing.assert_allclose(own.share, sum(hits) / len(hits))
        np.testing.assert_allclose(own.nll, sum(losses) / len(losses), rtol=1e-5)
        assert own.calibrated_nll is not None
        assert float(own.calibrated_nll.mean()) == pytest.approx(-sum(calibrated) / len(calibrated))
        (row,) = [row for row in results.sizes if (row.split, row.size) == ("test", size)]
        assert row.subsets == math.comb(3, size)
        assert row.accuracy == pytest.approx(100 * float(sum(hits).mean()) / len(hits))
        assert row.nll == pytest.approx(float(sum(losses).mean()) / len(losses))
        assert row.calibrated_log_likelihood == pytest.approx(sum(calibrated) / len(calibrated))
    (whole,) = rows(results, "ensemble")
    assert whole.size == 3
    assert whole.correct is not None
    assert whole.calibrated_nll is not None
    assert 100 * whole.correct.mean() == results.scores["test_accuracy"]
    assert whole.nll.mean() == pytest.approx(results.scores["test_nll"])
    assert -whole.calibrated_nll.mean() == pytest.approx(results.scores["test_calibrated_log_likelihood"])


def test_many_subsets_are_stood_for_by_ten() -> None:
    for count, size in ((4, 2), (5, 2), (6, 3), (20, 10), (12, 1)):
        some = member_subsets(count, size)
        assert some == member_subsets(count, size)
        assert len(some) == len(set(some)) == min(10, math.comb(count, size))
        assert all(len(set(one)) == size and set(one) <= set(range(count)) for one in some)
    assert member_subsets(5, 2) == list(combinations(range(5), 2))


def test_mixtures_have_their_ends_their_pairs_and_their_hull(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    ensemble = Ensemble.of_members(trained(work, 3).vertices, chain_pairs(3))
    results = found(work, ensemble, path_images=20, train_images=10)
    path = rows(results, "path")
    assert {own.split for own in results.outcomes} == {"val", "test"}
    assert [own.weights for own in path[:3]] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert [own.judged for own in path] == [None] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    assert [own.weights for own in rows(results, "hull")] == [tuple(row) for row in hull_rows(3, 2).tolist()]
    assert {len(own.nll) for own in (*path, *rows(results, "hull"))} == {20}
    points = {(p.i, p.j, p.alpha): p for p in results.paths if (p.split, p.policy) == ("test", "reset")}
    for own in path:
        assert own.weights is not None
        assert own.correct is not None
        i, j = (*np.flatnonzero(own.weights).tolist(), None)[:2]
        place = (i, j, own.weights[j]) if j is not None else {0: (0, 1, 0.0), 1: (0, 1, 1.0), 2: (0, 2, 1.0)}[i]
        assert 100 * own.correct.mean() == pytest.approx(points[place].accuracy)
        assert own.nll.mean() == pytest.approx(points[place].loss, rel=1e-5)


def test_members_results_are_their_own(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    results = found(work, grown(work, Permuted(members=2)))
    for own, scores, unit in zip(rows(results, "member"), results.members, ((1, 0), (0, 1)), strict=True):
        assert own.correct is not None
        assert (own.weights, own.policy) == (unit, None)
        assert 100 * own.correct.mean() == pytest.approx(scores["test_accuracy"])
        assert own.nll.mean() == pytest.approx(scores["test_nll"])


def test_pairs_limits_what_is_measured(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = Ensemble.of_members(fresh(work.network, 4))
    results = found(work, ensemble, pairs=2)
    measured = {(p.i, p.j) for p in results.paths}
    assert len(measured) == 2
    inside = {tuple(np.flatnonzero(own.weights).tolist()) for own in rows(results, "path")[4:]}  # type: ignore[arg-type]
    assert inside == measured
    every = found(work, ensemble)
    assert results.paths == [p for p in every.paths if (p.i, p.j) in measured]
    assert results.scores["val_q_bar_reset"] != every.scores["val_q_bar_reset"]
    assert results.scores["val_loss_upper_reset"] != every.scores["val_loss_upper_reset"]
    assert validate_ensemble(work, ensemble, Evaluation(pairs=2)) != validate_ensemble(work, ensemble, Evaluation())
