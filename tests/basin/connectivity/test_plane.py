"""The plane through three networks: closed forms on known geometries."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from basin import stack
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.plane import CollinearError, Plane, PlanePoint, score_plane
from basin.connectivity.probe import Probe
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.prediction import predict
from basin.stack import Stack
from basin.task import Task
from tests.support.tiny_trial import fresh, task


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


ANCHORS = (vector(1, 1, 1, 1), vector(3, 4, 1, 1), vector(5, 1, 1, 1))
"""A triangle with its base of 4 along the first axis, its tip 3 above and 2 along it."""


def test_the_basis_of_a_known_triangle() -> None:
    found = Plane.through(*ANCHORS)
    assert (found.dx, found.dy, found.shift) == (4, 3, 2)
    assert found.u.tolist() == [1, 0, 0, 0]
    assert found.v.tolist() == [0, 1, 0, 0]


def test_anchors_stand_at_their_coordinates() -> None:
    found = Plane.through(*ANCHORS)
    coordinates = [(0, 0), (2, 3), (4, 0)]
    for anchor, (x, y) in zip(ANCHORS, coordinates, strict=True):
        assert found.project(anchor) == pytest.approx((x, y, 0), abs=1e-12)
    assert [found.row(x, y) for x, y in coordinates] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_a_network_beside_the_plane_has_its_distance_as_residual() -> None:
    # (0, 0, 3, 4) is orthogonal to the plane, of length 5.
    assert Plane.through(*ANCHORS).project(vector(1 + 2.5, 1 - 1, 1 + 3, 1 + 4)) == pytest.approx((2.5, -1, 5))


coordinate = st.floats(-3, 3)


@given(st.integers(0, 1000), coordinate, coordinate)
def test_a_row_mixes_to_the_point_of_the_plane(seed: int, x: float, y: float) -> None:
    draws = torch.Generator().manual_seed(seed)
    anchors = torch.randn(3, 40, generator=draws, dtype=torch.float64)
    found = Plane.through(*anchors)
    torch.testing.assert_close(
        torch.stack([found.u, found.v]) @ torch.stack([found.u, found.v]).T, torch.eye(2).double()
    )
    row = vector(*found.row(x, y))
    assert float(row.sum()) == pytest.approx(1, abs=1e-12)
    by_hand = anchors[0] + x * found.u + y * found.v
    mixed = stack.mix({"w": anchors}, row[None])["w"][0]
    torch.testing.assert_close(mixed, by_hand, rtol=0, atol=1e-9)
    # There and back again, with a residual of a known length orthogonal to both.
    aside = torch.randn(40, generator=draws, dtype=torch.float64)
    aside -= (aside @ found.u) * found.u + (aside @ found.v) * found.v
    assert found.project(mixed + 2 * aside / aside.norm()) == pytest.approx((x, y, 2), abs=1e-9)
    for anchor in anchors:
        assert found.project(anchor)[2] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "anchors",
    [
        (vector(0, 0), vector(1, 1), vector(2, 2)),
        (vector(0, 0), vector(1, 1), vector(0, 0)),
        (vector(0, 0), vector(0, 0), vector(1, 1)),
        (vector(1, 2), vector(1, 2), vector(1, 2)),
    ],
)
def test_three_networks_on_a_line_span_no_plane(anchors: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(CollinearError, match=r"a plane needs three networks that are not on one line, got sides \d"):
        Plane.through(*anchors)


# The plane of an ensemble.


@pytest.fixture
def work(tmp_path: Path, cache: Path) -> Task:
    return task(tmp_path, cache)


def displaced(work: Task, *moves: tuple[str, int, float]) -> Stack:
    """One network, and copies of it in each of which one weight was moved."""
    thetas = stack.repeat_network(work.network.init(0), 1 + len(moves))
    for name in work.network.weights:
        thetas[name] = (thetas[name] * 64).round() / 64  # sums of these are exact
    for k, (name, place, by) in enumerate(moves, start=1):
        thetas[name][k].view(-1)[place] += by
    return thetas


def points(work: Task, thetas: Stack, anchors: tuple[int, int, int], count: int) -> list[PlanePoint]:
    probe = Probe(MixingContext(work.network, thetas, work.data), {"val": work.data.val, "test": work.data.test})
    return list(score_plane(probe, anchors, points=count, policy="reset"))


MOVES = (("1.0.weight", 5, 3.0), ("2.0.weight", 7, 2.0), ("1.0.weight", 9, 4.0))


def test_vertices_stand_where_they_were_moved(work: Task) -> None:
    thetas = displaced(work, *MOVES)
    found = [p for p in points(work, thetas, (0, 1, 3), 3) if p.vertex is not None and p.split == "val"]
    assert [(p.vertex, p.x, p.y, p.residual) for p in found] == [
        (0, 0, 0, 0),
        (1, 0, 3, 0),
        (2, 0, 0, pytest.approx(2)),
        (3, 4, 0, 0),
    ]
    log_probs = predict(work.network, thetas, work.data.val, work.data).double()
    assert [p.accuracy for p in found] == member_accuracies(log_probs, work.data.val.labels).tolist()
    assert [p.loss for p in found] == member_nlls(log_probs, work.data.val.labels).tolist()


def test_the_grid_reaches_a_fifth_beyond_the_anchors(work: Task) -> None:
    found = [p for p in points(work, displaced(work, *MOVES), (0, 1, 3), 3) if p.vertex is None and p.split == "test"]
    assert [(p.x, p.y) for p in found] == [
        (pytest.approx(4 * a), pytest.approx(3 * b)) for a in (-0.2, 0.5, 1.2) for b in (-0.2, 0.5, 1.2)
    ]
    assert {p.residual for p in found} == {0}
    assert {p.policy for p in found} == {"reset"}


def test_a_point_is_the_network_that_stands_there(work: Task) -> None:
    thetas = displaced(work, *MOVES)
    images = work.data.val
    for point in points(work, thetas, (0, 1, 3), 3):
        if point.vertex is not None or point.split != "val":
            continue
        there = {name: tensor[:1].clone() for name, tensor in thetas.items()}
        there["1.0.weight"].view(-1)[5] += point.y
        there["1.0.weight"].view(-1)[9] += point.x
        log_probs = predict(work.network, there, images, work.data).double()
        assert point.accuracy == float(member_accuracies(log_probs, images.labels)[0])
        assert point.loss == pytest.approx(float(member_nlls(log_probs, images.labels)[0]), rel=1e-5)


def test_anchors_choose_origin_and_axes(work: Task) -> None:
    # Seen from vertex 3, the others lie at 4 along the first axis, and 3 above vertex 0.
    found = [p for p in points(work, displaced(work, *MOVES), (3, 1, 0), 3) if p.vertex is not None]
    places = {p.vertex: (p.x, p.y, p.residual) for p in found}
    assert places == {
        0: pytest.approx((4, 0, 0), abs=1e-9),
        1: pytest.approx((4, 3, 0), abs=1e-9),
        2: pytest.approx((4, 0, 2), abs=1e-9),
        3: pytest.approx((0, 0, 0), abs=1e-9),
    }


def test_buffers_are_no_coordinates(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, model="resnet8", width=0.25)
    thetas = fresh(work.network, 3)
    moved = {name: tensor + 5 if "running" in name else tensor for name, tensor in thetas.items()}
    first, second = (points(work, one, (0, 1, 2), 0) for one in (thetas, moved))
    assert [(p.x, p.y, p.residual) for p in first] == [(p.x, p.y, p.residual) for p in second]
    apart = math.dist(*(stack.flatten_weights(thetas, work.network.weights).double()[k].tolist() for k in (0, 2)))
    assert first[4].x == pytest.approx(apart)
