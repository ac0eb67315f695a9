"""Paths against networks mixed and evaluated one by one, and their summaries against sums by hand."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import MODELS, fresh, module, task
from torch.nn import functional as F

from basin import stack
from basin.connectivity.paths import Point, barrier, barrier_matrix, connectivity, grid, paths, q_pair
from basin.connectivity.probe import Probe
from basin.ensemble import Ensemble
from basin.evaluation import predict, reset
from basin.measure import Evaluation, measure
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.policies import Setting
from basin.task import Task


def probe(work: Task, thetas: stack.Stack, bn_images: int | None = None) -> Probe:
    return Probe(Setting(work.network, thetas, work.data, bn_images), {"val": work.data.val})


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 30))
def test_excess_of_a_parabola(a: float, b: float, c: float, half: int) -> None:
    # M(α) = aα² + bα + c exceeds its chord by −aα(1−α): the line and the constant cancel.
    alphas = torch.tensor(grid(2 * half + 1), dtype=torch.float64)
    scores = a * alphas**2 + b * alphas + c
    torch.testing.assert_close(q_pair(alphas, scores), -a * alphas * (1 - alphas), rtol=1e-9, atol=1e-12)
    assert barrier(alphas, scores) == pytest.approx(max(0.0, a / 4), abs=1e-12)


def test_a_line_has_no_barrier() -> None:
    alphas = tensor(*grid(11))
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
        alphas = grid(points)
        assert len(alphas) == points
        assert (alphas[0], alphas[points // 2], alphas[-1]) == (0.0, 0.5, 1.0)
        assert alphas == pytest.approx([1 - alpha for alpha in reversed(alphas)])
        assert alphas == sorted(set(alphas))


@pytest.mark.parametrize("points", [2, 10, 1, 0, -3])
def test_a_grid_without_the_middle_is_an_error(points: int) -> None:
    with pytest.raises(ValueError, match=f"an odd number of at least 3 points to hold 0, ½ and 1, got {points}"):
        grid(points)


def curve(split: str, i: int, j: int, *accuracies: float, policy: str = "reset") -> list[Point]:
    last = len(accuracies) - 1
    return [Point(split, policy, i, j, n / last, value, 0.0) for n, value in enumerate(accuracies)]


POINTS = [
    *curve("val", 0, 1, 90, 80, 70, 85, 94),  # chord 90 91 92 93 94: −11 −22 −8
    *curve("val", 0, 2, 90, 91, 92, 89, 90),  # chord 90: 1 2 −1
    *curve("val", 1, 2, 94, 94, 94, 94, 90),  # chord 94 93 92 91 90: 1 2 3
]


def test_summaries_are_the_sums_by_hand() -> None:
    found = connectivity(POINTS)
    assert found == pytest.approx(
        {
            "val_q_bar_reset": (-41 + 2 + 6) / 9,
            "val_q_min_reset": -22,
            "val_q_star_reset": (-41 + 2) / 6,
            "val_barrier_reset": 22,
            "val_instability_reset": 22,  # 92 − 70; 90 − 89; 92 − 90
            "val_connected_reset": 0,
        }
    )


def test_the_order_of_the_points_does_not_matter() -> None:
    assert connectivity(reversed(POINTS)) == pytest.approx(connectivity(POINTS))


def test_splits_and_policies_are_told_apart() -> None:
    other = [*curve("test", 0, 1, 90, 80, 90), *curve("test", 0, 1, 90, 10, 90, policy="interp")]
    found = connectivity([*POINTS, *other])
    assert {name: value for name, value in found.items() if name.startswith("val")} == connectivity(POINTS)
    assert (found["test_q_bar_reset"], found["test_q_bar_interp"]) == (-10, -80)
    assert (found["test_barrier_reset"], found["test_barrier_interp"]) == (10, 80)


def test_no_pairs_no_numbers() -> None:
    assert connectivity([]) == {}


def test_barriers_of_all_pairs() -> None:
    matrix = barrier_matrix(POINTS, 4)
    assert torch.equal(matrix, matrix.T)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 1] = expected[1, 0] = 22
    expected[0, 2] = expected[2, 0] = 1
    torch.testing.assert_close(matrix, expected)
    assert float(matrix.max()) == connectivity(POINTS)["val_barrier_reset"]


@pytest.mark.parametrize("kind", ["mlp", "batch"])
@pytest.mark.parametrize("policy", ["reset", "interp"])
def test_a_path_is_networks_mixed_and_evaluated_one_by_one(kind: str, policy: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas, images = stack.concatenate([work.runs.state(k).thetas for k in range(3)]), work.data.val
    found = paths(probe(work, thetas, bn_images=80), alphas=grid(5), policies=(policy,))
    expected = []
    pixels = work.data.normalise(images.take(torch.arange(60))[0])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for alpha in (0, 0.25, 0.5, 0.75, 1):
            params = {
                name: (1 - alpha) * t[i] + alpha * t[j] if t.is_floating_point() else t[0] for name, t in thetas.items()
            }
            if policy == "reset" and alpha not in (0, 1):
                params = stack.row(reset(work.network, stack.stack([params]), work.data, 80), 0)
            with torch.no_grad():
                logits = module(work, MODELS[kind], params).eval()(pixels)
            hits = (logits.argmax(dim=1) == images.labels).double().mean() * 100
            loss = F.cross_entropy(logits, images.labels)
            expected.append(("val", policy, i, j, alpha, float(hits), pytest.approx(float(loss), rel=1e-4)))
    assert [tuple(point.__dict__.values()) for point in found] == expected


def test_ends_are_the_members_own_scores(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = fresh(work.network, 3)
    log_probs = predict(work.network, thetas, work.data.val, work.data).double()
    accuracies = member_accuracies(log_probs, work.data.val.labels).tolist()
    losses = member_nlls(log_probs, work.data.val.labels).tolist()
    for point in paths(probe(work, thetas), alphas=grid(3)):
        if point.alpha in (0, 1):
            k = point.j if point.alpha else point.i
            assert (point.accuracy, point.loss) == (accuracies[k], losses[k])


@pytest.mark.parametrize("kind", ["mlp", "batch", "layer"])
def test_equal_networks_are_perfectly_connected(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    twins = stack.repeat(stack.row(work.runs.state(0).thetas, 0), 2)
    points = paths(probe(work, twins), alphas=grid(3), policies=("interp",))
    zero = dict.fromkeys(("q_bar", "q_min", "q_star", "barrier", "instability"), 0.0) | {"connected": 1.0}
    assert connectivity(points) == {f"val_{name}_interp": value for name, value in zero.items()}


def test_a_path_goes_between_members_not_vertices(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    vertices = fresh(work.network, 3)
    coords = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    found = measure(work, Ensemble(vertices, coords), Evaluation(alphas=3, hull_points=1))
    direct = measure(work, Ensemble.of_members(stack.mix(vertices, coords)), Evaluation(alphas=3, hull_points=1))
    assert found.paths == direct.paths
    assert found.hull == direct.hull
    assert {(point.i, point.j) for point in found.paths} == {(0, 1)}


def test_a_single_member_has_no_path(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert list(paths(probe(work, fresh(work.network, 1)), alphas=grid(3))) == []
