"""What a probe computes and what it remembers; the hull against networks mixed and evaluated one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.connectivity.hull import HullPoint, hull_gaps, hull_rows, score_hull
from basin.connectivity.paths import alpha_grid, score_paths
from basin.connectivity.probe import Probe, segment_row
from basin.environment import Machine
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.prediction import predict, reestimate_batchnorm
from basin.stack import Params, Stack
from basin.task import Task
from basin.training.execution_mode import EngineName
from tests.support.tiny_trial import MODELS, fresh, module, task


@contextmanager
def calls(work: Task) -> Iterator[list[int]]:
    """Batch sizes that the network is called with."""
    seen: list[int] = []
    folded, _ = work.network.without_batchnorms(torch.zeros(2, *work.network.shape))
    handles = [
        network.module.register_forward_hook(lambda net, inputs, output: seen.append(len(inputs[0])))
        for network in {work.network, folded}
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def probe(work: Task, thetas: Stack, bn_images: int | None = None) -> Probe:
    return Probe(
        MixingContext(work.network, thetas, work.data, bn_images), {"val": work.data.val, "test": work.data.test}
    )


def trained(work: Task, count: int) -> Stack:
    return stack.join_stacks([work.stages.state(k).thetas for k in range(count)])


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
    row = segment_row(0, 1, 0.25, 2)[None]
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


def test_ends_are_scored_under_the_policy_once(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = trained(work, 2)
    asked = probe(work, thetas, bn_images=30)
    with calls(work) as seen:
        ends = {policy: asked.ends(policy) for policy in ("interp", "reset")}
        assert seen == [120] * 2 + [30, 120] * 2
        assert [asked.ends(policy) for policy in ends] == list(ends.values())
        assert len(seen) == 6
    again = reestimate_batchnorm(work.network, thetas, work.data, 30)
    for split in ("val", "test"):
        for policy, own in (("interp", thetas), ("reset", again)):
            for k in range(2):
                accuracy, loss = by_hand(work, "batch", stack.network_at(own, k), split)
                assert ends[policy][k][split].accuracy == accuracy
                assert ends[policy][k][split].loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("engine", ["loop", "threads", "stacked"])
def test_each_image_is_scored_as_by_a_plain_module(engine: EngineName, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, Machine(device="cpu", engine=engine, threads=2), val_size=50, **MODELS["layer"])
    thetas = trained(work, 3)
    rows, asked = hull_rows(3, 4), probe(work, thetas)
    means = Probe(asked.context, asked.splits, per_image=False).mixed(rows, "reset")
    for row, scores, alone in zip(rows, asked.mixed(rows, "reset"), means, strict=True):
        plain = module(work, MODELS["layer"], mixed_by_hand(thetas, row)).eval()
        for split, own in scores.items():
            pixels, labels = getattr(work.data, split).take(torch.arange(50 if split == "val" else 60))
            with torch.no_grad():
                logits = plain(work.data.normalise(pixels))
            losses = F.cross_entropy(logits, labels, reduction="none")
            assert torch.equal(own.correct, logits.argmax(dim=1) == labels)
            torch.testing.assert_close(own.nll, losses, rtol=1e-3, atol=1e-5)
            assert own.accuracy == 100 * float(own.correct.double().mean())
            assert own.loss == pytest.approx(float(own.nll.double().mean()), rel=1e-6)
            assert (alone[split].accuracy, alone[split].loss) == (own.accuracy, own.loss)
            assert len(alone[split].correct) == len(alone[split].nll) == 0


def test_the_centroid_of_two_is_the_middle_of_their_path(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    asked = probe(work, fresh(work.network, 2))
    middle = {point.split: point for point in score_paths(asked, alphas=alpha_grid(3)) if point.alpha == 0.5}
    with calls(work) as seen:
        centroid = list(score_hull(asked, points=0, policies=("reset",)))
    assert seen == []
    assert {p.split: (p.accuracy, p.loss) for p in centroid} == {s: (p.accuracy, p.loss) for s, p in middle.items()}


# The rows of the hull.


@pytest.mark.parametrize("count", [2, 3, 7])
def test_rows_are_the_centroid_and_points_of_the_simplex(count: int) -> None:
    torch.manual_seed(0)
    rows = hull_rows(count, 4000)
    torch.rand(3)
    assert torch.equal(hull_rows(count, 4000), rows), "not a function of K alone"
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
    assert torch.equal(hull_rows(4, 0), torch.full((1, 4), 0.25, dtype=torch.float64))


# Its points.


@pytest.mark.parametrize(("kind", "policy"), [("mlp", "reset"), ("batch", "reset"), ("batch", "interp")])
def test_the_hull_is_networks_mixed_and_evaluated_one_by_one(
    kind: str, policy: str, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas = trained(work, 3)
    found = list(score_hull(probe(work, thetas, bn_images=80), points=3, policies=(policy,)))
    assert [(p.policy, p.index, p.split) for p in found] == [
        (policy, n, split) for n in range(4) for split in ("val", "test")
    ]
    rows = hull_rows(3, 3)
    own = reestimate_batchnorm(work.network, thetas, work.data, 80) if policy == "reset" else thetas
    ends = {
        split: [by_hand(work, kind, end, split)[0] for end in stack.iterate_networks(own)] for split in ("val", "test")
    }
    for point in found:
        row = rows[point.index]
        params = mixed_by_hand(thetas, row)
        if policy == "reset":
            params = stack.network_at(
                reestimate_batchnorm(work.network, stack.stack_networks([params]), work.data, 80), 0
            )
        accuracy, loss = by_hand(work, kind, params, point.split)
        assert point.accuracy == accuracy
        assert point.loss == pytest.approx(loss, rel=1e-4)
        chord = sum(share * end for share, end in zip(row.tolist(), ends[point.split], strict=True))
        assert point.accuracy_excess == pytest.approx(accuracy - chord, abs=1e-9)


@pytest.mark.parametrize("kind", ["mlp", "batch", "vit"])
def test_the_hull_of_equal_networks_has_no_gap(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    twins = stack.repeat_network(stack.network_at(trained(work, 1), 0), 3)
    found = hull_gaps(score_hull(probe(work, twins, bn_images=40), points=4, policies=POLICIES))
    names = ("centroid_gap", "hull_gap", "hull_min")
    assert found == {
        f"{split}_{name}_{policy}": 0 for split in ("val", "test") for name in names for policy in POLICIES
    }


def test_the_hull_of_a_linear_loss_has_no_excess_in_probabilities(tmp_path: Path, cache: Path) -> None:
    # Networks that differ in the last layer's bias only, by multiples of one vector that all logits share.
    work = task(tmp_path, cache)
    thetas = stack.repeat_network(stack.network_at(trained(work, 1), 0), 3)
    thetas["3.bias"] += torch.tensor([0.0, 2.0, -4.0])[:, None]
    asked = probe(work, thetas)
    losses = {point.loss for point in score_hull(asked, points=4, policies=("reset",)) if point.split == "val"}
    assert all(loss == pytest.approx(asked.ends("reset")[0]["val"].loss, rel=1e-5) for loss in losses)


def test_gaps_are_summed_by_hand() -> None:
    def points(split: str, policy: str, *excesses: float) -> list[HullPoint]:
        return [HullPoint(split, policy, n, 0.0, 0.0, excess) for n, excess in enumerate(excesses)]

    found = hull_gaps(
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
    assert hull_gaps([]) == {}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_leaves_the_members_alone(policy: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = trained(work, 2)
    before = {name: tensor.clone() for name, tensor in thetas.items()}
    asked = probe(work, thetas, bn_images=40)
    list(score_hull(asked, points=2, policies=(policy,)))
    assert all(torch.equal(thetas[name], before[name]) for name in before)
    log_probs = predict(work.network, thetas, work.data.val, work.data).double()
    accuracies, losses = (f(log_probs, work.data.val.labels) for f in (member_accuracies, member_nlls))
    ends = probe(work, thetas).ends("interp")
    assert [end["val"].accuracy for end in ends] == accuracies.tolist()
    assert [end["val"].loss for end in ends] == pytest.approx(losses.tolist())
