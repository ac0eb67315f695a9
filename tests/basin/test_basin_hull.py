"""What a probe computes and what it remembers; the hull against networks mixed and evaluated one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny import MODELS, fresh, module, task
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.connectivity.hull import HullPoint, gaps, hull, weights
from basin.connectivity.paths import grid, paths
from basin.connectivity.probe import Probe, segment
from basin.evaluation import predict, reset
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.policies import POLICIES, Setting
from basin.stack import Params, Stack
from basin.task import Task


@contextmanager
def calls(work: Task) -> Iterator[list[int]]:
    """Batch sizes that the network is called with."""
    seen: list[int] = []
    handle = work.network.module.register_forward_hook(lambda net, inputs, output: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()


def probe(work: Task, thetas: Stack, bn_images: int | None = None) -> Probe:
    return Probe(Setting(work.network, thetas, work.data, bn_images), {"val": work.data.val, "test": work.data.test})


def trained(work: Task, count: int) -> Stack:
    return stack.concatenate([work.runs.state(k).thetas for k in range(count)])


def by_hand(work: Task, kind: str, params: Params, split: str) -> tuple[float, float]:
    """Accuracy and loss of a plain module."""
    images = getattr(work.data, split)
    with torch.no_grad():
        pixels = work.data.normalise(images.take(torch.arange(len(images)))[0])
        logits = module(work, MODELS[kind], params).eval()(pixels)
    hits = (logits.argmax(dim=1) == images.labels).double().mean() * 100
    return float(hits), float(F.cross_entropy(logits, images.labels))


def mixed_by_hand(thetas: Stack, row: Tensor) -> Params:
    return {
        name: torch.einsum("k,k...->...", row.float(), t) if t.is_floating_point() else t[0]
        for name, t in thetas.items()
    }


# The probe.


def test_a_mixture_is_computed_once(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, val_size=50, **MODELS["batch"])
    asked = probe(work, fresh(work.network, 2), bn_images=30)
    row = segment(0, 1, 0.25, 2)[None]
    with calls(work) as seen:
        first = asked.mixed(row, "reset")
        assert seen == [30, 110]
        assert asked.mixed(row.clone(), "reset") == first
        assert seen == [30, 110]
        asked.mixed(row, "interp")
        assert seen[2:] == [110]
        asked.mixed(torch.cat([row, row.flip(1), row]), "interp")
        assert seen[3:] == [110]
        asked.mixed(row, "repair")  # both members' moments, then as `reset`
        assert seen[4:] == [30, 30, 30, 110]
        asked.mixed(row.flip(1), "repair")
        assert seen[8:] == [30, 110]
        asked.mixed(row, "repair")
        assert len(seen) == 10


def test_ends_are_computed_once_and_are_the_members_own(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = trained(work, 2)
    asked = probe(work, thetas)
    with calls(work) as seen:
        ends = asked.ends
        assert seen == [60] * 4
        assert asked.ends is ends
        assert len(seen) == 4
    for split in ("val", "test"):
        for k in range(2):
            accuracy, loss = by_hand(work, "batch", stack.row(thetas, k), split)
            assert float(ends[split][0][k]) == accuracy
            assert float(ends[split][1][k]) == pytest.approx(loss, rel=1e-5)


def test_the_centroid_of_two_is_the_middle_of_their_path(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    asked = probe(work, fresh(work.network, 2))
    middle = {point.split: point for point in paths(asked, alphas=grid(3)) if point.alpha == 0.5}
    with calls(work) as seen:
        centroid = list(hull(asked, points=0, policies=("reset",)))
    assert seen == []
    assert {p.split: (p.accuracy, p.loss) for p in centroid} == {s: (p.accuracy, p.loss) for s, p in middle.items()}


# The rows of the hull.


@pytest.mark.parametrize("count", [2, 3, 7])
def test_rows_are_the_centroid_and_points_of_the_simplex(count: int) -> None:
    torch.manual_seed(0)
    rows = weights(count, 4000)
    torch.rand(3)
    assert torch.equal(weights(count, 4000), rows), "not a function of K alone"
    assert rows.shape == (4001, count)
    torch.testing.assert_close(rows[0], torch.full((count,), 1 / count, dtype=torch.float64), rtol=0, atol=0)
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(4001, dtype=torch.float64))
    assert bool((rows >= 0).all())
    # Dirichlet(1, …, 1): mean 1/K, variance (K−1)/(K²(K+1)).
    variance = (count - 1) / (count**2 * (count + 1))
    error = 4 * (variance / 4000) ** 0.5
    torch.testing.assert_close(rows[1:].mean(dim=0), torch.full((count,), 1 / count).double(), rtol=0, atol=error)
    torch.testing.assert_close(rows[1:].var(dim=0), torch.full((count,), variance).double(), rtol=0.1, atol=0)


def test_no_points_leave_the_centroid() -> None:
    assert torch.equal(weights(4, 0), torch.full((1, 4), 0.25, dtype=torch.float64))


# Its points.


@pytest.mark.parametrize(("kind", "policy"), [("mlp", "reset"), ("batch", "reset"), ("batch", "interp")])
def test_the_hull_is_networks_mixed_and_evaluated_one_by_one(
    kind: str, policy: str, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas = trained(work, 3)
    found = list(hull(probe(work, thetas, bn_images=80), points=3, policies=(policy,)))
    assert [(p.policy, p.index, p.split) for p in found] == [
        (policy, n, split) for n in range(4) for split in ("val", "test")
    ]
    rows = weights(3, 3)
    ends = {
        split: [by_hand(work, kind, network, split)[0] for network in stack.rows(thetas)] for split in ("val", "test")
    }
    for point in found:
        row = rows[point.index]
        params = mixed_by_hand(thetas, row)
        if policy == "reset":
            params = stack.row(reset(work.network, stack.stack([params]), work.data, 80), 0)
        accuracy, loss = by_hand(work, kind, params, point.split)
        assert point.accuracy == accuracy
        assert point.loss == pytest.approx(loss, rel=1e-4)
        chord = sum(share * end for share, end in zip(row.tolist(), ends[point.split], strict=True))
        assert point.accuracy_excess == pytest.approx(accuracy - chord, abs=1e-9)


@pytest.mark.parametrize("kind", ["mlp", "batch", "vit"])
def test_the_hull_of_equal_networks_has_no_gap(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    twins = stack.repeat(stack.row(trained(work, 1), 0), 3)
    found = gaps(hull(probe(work, twins), points=4, policies=("interp",)))
    names = {f"{split}_{name}_interp" for split in ("val", "test") for name in ("centroid_gap", "hull_gap", "hull_min")}
    assert found == {name: pytest.approx(0, abs=1e-9) for name in names}


def test_the_hull_of_a_linear_loss_has_no_excess_in_probabilities(tmp_path: Path, cache: Path) -> None:
    # Networks that differ in the last layer's bias only, by multiples of one vector that all logits share.
    work = task(tmp_path, cache)
    thetas = stack.repeat(stack.row(trained(work, 1), 0), 3)
    thetas["3.bias"] += torch.tensor([0.0, 2.0, -4.0])[:, None]
    asked = probe(work, thetas)
    losses = {point.loss for point in hull(asked, points=4, policies=("reset",)) if point.split == "val"}
    assert all(loss == pytest.approx(float(asked.ends["val"][1][0]), rel=1e-5) for loss in losses)


def test_gaps_are_summed_by_hand() -> None:
    def points(split: str, policy: str, *excesses: float) -> list[HullPoint]:
        return [HullPoint(split, policy, n, 0.0, 0.0, excess) for n, excess in enumerate(excesses)]

    found = gaps(
        [*points("val", "reset", -3, -1, -5, 3), *points("test", "interp", 2), *points("val", "interp", 1, -7)]
    )
    assert found == {
        "val_centroid_gap_reset": -3,
        "val_hull_gap_reset": -1,
        "val_hull_min_reset": -5,
        "test_centroid_gap_interp": 2,
        "val_centroid_gap_interp": 1,
        "val_hull_gap_interp": -7,
        "val_hull_min_interp": -7,
    }
    assert gaps([]) == {}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_leaves_the_members_alone(policy: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = trained(work, 2)
    before = {name: tensor.clone() for name, tensor in thetas.items()}
    asked = probe(work, thetas, bn_images=40)
    list(hull(asked, points=2, policies=(policy,)))
    assert all(torch.equal(thetas[name], before[name]) for name in before)
    log_probs = predict(work.network, thetas, work.data.val, work.data).double()
    accuracies, losses = (f(log_probs, work.data.val.labels) for f in (member_accuracies, member_nlls))
    assert torch.equal(asked.ends["val"][0], accuracies)
    assert torch.equal(asked.ends["val"][1], losses)
