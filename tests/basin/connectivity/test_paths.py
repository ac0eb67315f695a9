"""Paths against networks mixed and evaluated one by one, and their summaries against sums by hand."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from basin import stack
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.connectivity.paths import (
    PathPoint,
    alpha_grid,
    barrier,
    barrier_matrix,
    q_pair,
    score_paths,
    summarise_paths,
)
from basin.connectivity.probe import Probe
from basin.ensemble import Ensemble
from basin.environment import Machine
from basin.measure import Evaluation, measure_ensemble
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.prediction import predict, reestimate_batchnorm
from basin.task import Task
from basin.training.execution_mode import EngineName
from tests.support.tiny_trial import MODELS, fresh, module, task


def probe(work: Task, thetas: stack.Stack, bn_images: int | None = None) -> Probe:
    return Probe(MixingContext(work.network, thetas, work.data, bn_images), {"val": work.data.val})


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 30))
def test_excess_of_a_parabola(a: float, b: float, c: float, half: int) -> None:
    # M(α) = aα² + bα + c exceeds its chord by −aα(1−α): the line and the constant cancel.
    alphas = torch.tensor(alpha_grid(2 * half + 1), dtype=torch.float64)
    scores = a * alphas**2 + b * alphas + c
    torch.testing.assert_close(q_pair(alphas, scores), -a * alphas * (1 - alphas), rtol=1e-9, atol=1e-12)
    assert barrier(alphas, scores) == pytest.approx(max(0.0, a / 4), abs=1e-12)


def test_a_line_has_no_barrier() -> None:
    alphas = tensor(*alpha_grid(11))
    assert float(q_pair(alphas, 3 + 5 * alphas).abs().max()) < 1e-14
    assert barrier(alphas, 3 + 5 * alphas) == pytest.approx(0, abs=1e-14)


def test_a_hill_is_no_barrier() -> None:
    assert barrier(tensor(0, 0.5, 1), tensor(80, 95, 90)) == 0
    assert q_pair(tensor(0, 0.5, 1), tensor(80, 95, 90)).tolist() == [0, 10, 0]


def test_a_barrier_is_measured_from_the_chord() -> None:
    assert barrier(tensor(0, 0.25, 0.5, 1), tensor(80, 60, 70, 100)) == 25


def test_every_grid_holds_both_ends_and_the_middle() -> None:
    # 151 is the first at which the middle of torch.linspace is not ½.
    for points in range(3, 400, 2):
        alphas = alpha_grid(points)
        assert len(alphas) == points
        assert (alphas[0], alphas[points // 2], alphas[-1]) == (0.0, 0.5, 1.0)
        assert alphas == pytest.approx([1 - alpha for alpha in reversed(alphas)])
        assert alphas == sorted(set(alphas))


@pytest.mark.parametrize("points", [2, 10, 1, 0, -3])
def test_a_grid_without_the_middle_is_an_error(points: int) -> None:
    with pytest.raises(ValueError, match=f"an odd number of at least 3 points to hold 0, ½ and 1, got {points}"):
        alpha_grid(points)


def curve(split: str, i: int, j: int, *accuracies: float, policy: str = "reset") -> list[PathPoint]:
    """Points whose loss is a hundredth of the error."""
    last = len(accuracies) - 1
    return [PathPoint(split, policy, i, j, n / last, value, 1 - value / 100) for n, value in enumerate(accuracies)]


POINTS = [
    *curve("val", 0, 1, 90, 80, 70, 85, 94),  # chord 90 91 92 93 94: −11 −22 −8
    *curve("val", 0, 2, 90, 91, 92, 89, 90),  # chord 90: 1 2 −1
    *curve("val", 1, 2, 94, 94, 94, 94, 90),  # chord 94 93 92 91 90: 1 2 3
]


def test_summaries_are_the_sums_by_hand() -> None:
    found = summarise_paths(POINTS)
    assert found == pytest.approx(
        {
            "val_q_bar_reset": (-41 + 2 + 6) / 9,
            "val_q_min_reset": -22,
            "val_q_star_reset": (-41 + 2) / 6,
            "val_barrier_reset": 22,
            "val_instability_reset": 22,  # 92 − 70; 90 − 89; 92 − 90
            "val_loss_barrier_reset": 0.22,
        }
    )


def test_the_order_of_the_points_does_not_matter() -> None:
    assert summarise_paths(reversed(POINTS)) == pytest.approx(summarise_paths(POINTS))


def test_splits_and_policies_are_told_apart() -> None:
    other = [*curve("test", 0, 1, 90, 80, 90), *curve("test", 0, 1, 90, 10, 90, policy="interp")]
    found = summarise_paths([*POINTS, *other])
    assert {name: value for name, value in found.items() if name.startswith("val")} == summarise_paths(POINTS)
    assert (found["test_q_bar_reset"], found["test_q_bar_interp"]) == (-10, -80)
    assert (found["test_barrier_reset"], found["test_barrier_interp"]) == (10, 80)


def test_a_loss_that_falls_between_the_ends_is_no_barrier() -> None:
    points = [
        PathPoint("val", "reset", 0, 1, alpha, 90.0, loss) for alpha, loss in ((0.0, 0.5), (0.5, 0.4), (1.0, 0.7))
    ]
    assert summarise_paths(points)["val_loss_barrier_reset"] == 0


def test_without_a_pair_of_member_0_there_is_no_star() -> None:
    found = summarise_paths([point for point in POINTS if point.i == 1])
    assert "val_q_star_reset" not in found
    assert found["val_q_bar_reset"] == 2


def test_no_pairs_no_numbers() -> None:
    assert summarise_paths([]) == {}


def test_barriers_of_all_pairs() -> None:
    matrix = barrier_matrix(POINTS, 4)
    assert torch.equal(matrix, matrix.T)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 1] = expected[1, 0] = 22
    expected[0, 2] = expected[2, 0] = 1
    torch.testing.assert_close(matrix, expected)
    assert float(matrix.max()) == summarise_paths(POINTS)["val_barrier_reset"]


@pytest.mark.parametrize("kind", ["mlp", "batch"])
@pytest.mark.parametrize("policy", ["reset", "interp"])
def test_a_path_is_networks_mixed_and_evaluated_one_by_one(kind: str, policy: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas, images = stack.join_stacks([work.stages.state(k).thetas for k in range(3)]), work.data.val
    found = score_paths(probe(work, thetas, bn_images=80), alphas=alpha_grid(5), policies=(policy,))
    expected = []
    pixels = work.data.normalise(images.take(torch.arange(60))[0])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for alpha in (0, 0.25, 0.5, 0.75, 1):
            params = {
                name: (1 - alpha) * t[i] + alpha * t[j] if t.is_floating_point() else t[0] for name, t in thetas.items()
            }
            if policy == "reset":
                params = stack.network_at(
                    reestimate_batchnorm(work.network, stack.stack_networks([params]), work.data, 80), 0
                )
            with torch.no_grad():
                logits = module(work, MODELS[kind], params).eval()(pixels)
            hits = (logits.argmax(dim=1) == images.labels).double().mean() * 100
            loss = F.cross_entropy(logits, images.labels)
            expected.append(("val", policy, i, j, alpha, float(hits), pytest.approx(float(loss), rel=1e-4)))
    assert [tuple(point.__dict__.values()) for point in found] == expected


@pytest.mark.parametrize(("kind", "policy"), [("batch", "interp"), ("layer", "reset")])
def test_ends_are_the_members_own_scores_where_statistics_are_kept(
    kind: str, policy: str, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas = fresh(work.network, 3)
    log_probs = predict(work.network, thetas, work.data.val, work.data).double()
    accuracies = member_accuracies(log_probs, work.data.val.labels).tolist()
    losses = member_nlls(log_probs, work.data.val.labels).tolist()
    for point in score_paths(probe(work, thetas), alphas=alpha_grid(3), policies=(policy,)):
        if point.alpha in (0, 1):
            k = point.j if point.alpha else point.i
            # Ends are scored with folded BatchNorm, as what lies between them: equal up to rounding.
            assert (point.accuracy, point.loss) == (accuracies[k], pytest.approx(losses[k], rel=1e-5))


@pytest.mark.parametrize("engine", ["loop", "threads", "stacked"])
@pytest.mark.parametrize("kind", ["mlp", "batch", "layer"])
@pytest.mark.parametrize("policy", POLICIES)
def test_equal_networks_are_perfectly_connected(
    kind: str, policy: str, engine: EngineName, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, Machine(device="cpu", engine=engine, threads=2), **MODELS[kind])
    twins = stack.repeat_network(stack.network_at(work.stages.state(0).thetas, 0), 3)
    points = score_paths(probe(work, twins, bn_images=40), alphas=alpha_grid(11), policies=(policy,))
    names = ("q_bar", "q_min", "q_star", "barrier", "instability", "loss_barrier")
    assert summarise_paths(points) == {f"val_{name}_{policy}": 0.0 for name in names}


def test_paths_of_chosen_pairs_alone(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    asked = probe(work, fresh(work.network, 4))
    found = list(score_paths(asked, alphas=alpha_grid(3), pairs=[(0, 2), (1, 3)]))
    assert {(p.i, p.j) for p in found} == {(0, 2), (1, 3)}
    assert found == [p for p in score_paths(asked, alphas=alpha_grid(3)) if (p.i, p.j) in ((0, 2), (1, 3))]


def test_a_path_goes_between_members_not_vertices(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    vertices = fresh(work.network, 3)
    coords = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    found = measure_ensemble(work, Ensemble(vertices, coords), Evaluation(alphas=3, hull_points=1))
    direct = measure_ensemble(
        work, Ensemble.of_members(stack.mix(vertices, coords)), Evaluation(alphas=3, hull_points=1)
    )
    assert found.paths == direct.paths
    assert found.hull == direct.hull
    assert {(point.i, point.j) for point in found.paths} == {(0, 1)}


def test_a_single_member_has_no_path(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert list(score_paths(probe(work, fresh(work.network, 1)), alphas=alpha_grid(3))) == []
