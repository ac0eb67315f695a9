"""Paths, hull and plane of models whose mixtures have closed forms: linear and bilinear in their weights."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin import stack
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.hull import hull_rows, score_hull
from basin.connectivity.paths import alpha_grid, score_paths, summarise_paths
from basin.connectivity.plane import Plane, score_plane
from basin.connectivity.probe import Probe
from basin.data import Data
from basin.stack import Stack
from basin.training.network import Network
from tests.support.tiny_trial import task

UNITS = 6


@dataclass(frozen=True)
class Linear:
    """Logits are linear in the weights: those of a mixture are the mixture of the members'."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))


@dataclass(frozen=True)
class Product:
    """Two matrices and nothing between them: logits are a quadratic form in the rows of the mixing matrix."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        first, second = nn.Linear(shape[1] * shape[2], UNITS, bias=False), nn.Linear(UNITS, classes, bias=False)
        return nn.Sequential(nn.Flatten(), first, second)


@pytest.fixture
def data(tmp_path: Path, cache: Path) -> Data:
    return task(tmp_path, cache).data


def members(network: Network, count: int = 3) -> Stack:
    return stack.stack_networks([{n: 3 * t for n, t in network.init(seed).items()} for seed in range(count)])


def probe_of(model: Linear | Product, data: Data) -> Probe:
    network = Network(model, data.shape, data.classes, torch.device("cpu"))
    return Probe(MixingContext(network, members(network), data), {"val": data.val})


def scores(logits: Tensor, data: Data) -> tuple[float, float]:
    """Accuracy in percent, loss in nats."""
    labels = data.val.labels
    hits = (logits.argmax(dim=1) == labels).double().mean() * 100
    return float(hits), float(F.cross_entropy(logits, labels))


def logits_of(row: Tensor, probe: Probe) -> Tensor:
    """Σ_k w_k z_k of linear networks, Σ_jk w_j w_k B_j A_k x of products."""
    data, thetas, row = probe.context.data, probe.context.members, row.double()
    pixels = data.normalise(data.val.take(torch.arange(60))[0]).double().flatten(1)
    if "1.bias" in thetas:
        each = [pixels @ thetas["1.weight"][k].double().T + thetas["1.bias"][k].double() for k in range(len(row))]
        return sum((share * z for share, z in zip(row, each, strict=True)), torch.zeros(()))
    total = torch.zeros((), dtype=torch.float64)
    for j, outer in enumerate(row):
        for k, inner in enumerate(row):
            product = thetas["2.weight"][j].double() @ thetas["1.weight"][k].double()
            total = total + outer * inner * pixels @ product.T
    return total


@pytest.mark.parametrize("model", [Linear(), Product()])
def test_paths(model: Linear | Product, data: Data) -> None:
    probe = probe_of(model, data)
    found = list(score_paths(probe, alphas=alpha_grid(11)))
    assert len(found) == 3 * 11
    for point in found:
        row = torch.zeros(3)
        row[point.i], row[point.j] = 1 - point.alpha, point.alpha
        accuracy, loss = scores(logits_of(row, probe), data)
        assert point.accuracy == pytest.approx(accuracy)
        assert point.loss == pytest.approx(loss, rel=1e-5)


def test_the_loss_of_a_linear_network_lies_below_its_chord(data: Data) -> None:
    # Cross-entropy is convex in the logits.
    points = list(score_paths(probe_of(Linear(), data), alphas=alpha_grid(11)))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        first, *inner, last = [point for point in points if (point.i, point.j) == (i, j)]
        for point in inner:
            assert point.loss < (1 - point.alpha) * first.loss + point.alpha * last.loss


def test_opposite_factors_meet_in_nothing(data: Data) -> None:
    # (1−2α)² BA: the same function at both ends, zero in the middle, where every image gets the first class.
    probe = probe_of(Product(), data)
    one = {name: tensor[0] for name, tensor in probe.context.members.items()}
    opposite = stack.stack_networks([one, {name: -tensor for name, tensor in one.items()}])
    points = list(score_paths(Probe(replace(probe.context, members=opposite), probe.splits), alphas=alpha_grid(5)))
    accuracies = [point.accuracy for point in points]
    assert accuracies[0] == accuracies[1] == accuracies[3] == accuracies[4]
    assert points[2].loss == pytest.approx(torch.log(torch.tensor(10.0)).item(), rel=1e-6)
    first = float((data.val.labels == 0).double().mean() * 100)
    assert points[2].accuracy == pytest.approx(first)
    assert summarise_paths(points)["val_barrier_reset"] == pytest.approx(max(0.0, accuracies[0] - first))
    assert summarise_paths(points)["val_q_bar_reset"] == pytest.approx((first - accuracies[0]) / 3)


@pytest.mark.parametrize("model", [Linear(), Product()])
def test_hull(model: Linear | Product, data: Data) -> None:
    probe = probe_of(model, data)
    ends = [scores(logits_of(row, probe), data)[0] for row in torch.eye(3)]
    for point, row in zip(score_hull(probe, points=4, policies=("reset",)), hull_rows(3, 4), strict=True):
        accuracy, loss = scores(logits_of(row, probe), data)
        assert (point.accuracy, point.loss) == (pytest.approx(accuracy), pytest.approx(loss, rel=1e-5))
        assert point.accuracy_excess == pytest.approx(accuracy - float(row @ torch.tensor(ends, dtype=torch.float64)))


@pytest.mark.parametrize("model", [Linear(), Product()])
def test_plane(model: Linear | Product, data: Data) -> None:
    probe = probe_of(model, data)
    basis = Plane.through(*stack.flatten_weights(probe.context.members, probe.context.network.weights).double())
    found = list(score_plane(probe, (0, 1, 2), points=5, policy="reset"))
    assert len(found) == 25 + 3
    for point in found:
        accuracy, loss = scores(logits_of(torch.tensor(basis.row(point.x, point.y)), probe), data)
        assert point.accuracy == pytest.approx(accuracy)
        assert point.loss == pytest.approx(loss, rel=1e-4)
        assert point.residual == pytest.approx(0, abs=1e-5)
