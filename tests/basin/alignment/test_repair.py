"""REPAIR on one BatchNorm, where everything has a closed form."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from basin import stack
from basin.alignment.repair import activation_moments
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.data import Data
from basin.prediction import reestimate_batchnorm
from basin.stack import Params, Stack
from basin.training.network import Network
from tests.support.aligning import network

ROW = torch.tensor([0.75, 0.25], dtype=torch.float64)


@dataclass(frozen=True)
class OneNorm:
    """A linear layer and a BatchNorm."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        inputs = shape[0] * shape[1] * shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes), nn.BatchNorm1d(classes, eps=1e-12))


def setup(data: Data) -> tuple[Network, Stack]:
    """Two networks whose channels have means and deviations of their own."""
    function = Network(OneNorm(), data.shape, 4, torch.device("cpu"))
    members = stack.stack_networks([function.init(seed) for seed in range(2)])
    members["2.weight"] = torch.tensor([[1.0, 2.0, -1.0, 0.5], [5.0, 2.0, -3.0, 4.0]])
    members["2.bias"] = torch.tensor([[0.0, 1.0, 2.0, -1.0], [4.0, 1.0, 0.0, 3.0]])
    members["2.running_mean"] += 0.1
    members["2.running_var"] *= torch.tensor([[0.5], [1.5]])
    return function, members


def repair(function: Network, members: Stack, row: Tensor, data: Data, count: int | None = None) -> Params:
    """One repaired mixture."""
    return stack.network_at(POLICIES["repair"](MixingContext(function, members, data, count))(row[None]), 0)


@torch.no_grad()
def outputs(function: Network, params: Params, data: Data) -> Tensor:
    return function(params, data.normalise(data.train.take(torch.arange(len(data.train)))[0])).double()


def moments_of(function: Network, members: Stack, data: Data) -> tuple[Tensor, Tensor]:
    found = torch.stack([outputs(function, params, data) for params in stack.iterate_networks(members)])
    return found.mean(dim=1), found.std(dim=1, correction=0)


def test_moments_are_those_of_the_outputs(data: Data) -> None:
    function, members = setup(data)
    mean, std = moments_of(function, members, data)
    found = activation_moments(function, members, data, None)
    torch.testing.assert_close(found.mean["2"], mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.std["2"], std, rtol=1e-5, atol=1e-6)


def test_the_mixture_has_the_mixed_means_and_standard_deviations(data: Data) -> None:
    function, members = setup(data)
    mean, std = moments_of(function, members, data)
    mixed = outputs(function, repair(function, members, ROW, data), data)
    torch.testing.assert_close(mixed.mean(dim=0), ROW @ mean, rtol=1e-5, atol=1e-5)
    # BatchNorm's running variance is the unbiased one.
    torch.testing.assert_close(mixed.std(dim=0, correction=1), ROW @ std, rtol=1e-4, atol=1e-5)
    of_variances = (ROW @ std.square()).sqrt()
    assert float((mixed.std(dim=0) - of_variances).abs().max()) > 0.05, "standard deviations, not variances"


def test_rows_are_repaired_each_by_itself(data: Data) -> None:
    function, members = setup(data)
    rows = torch.stack([ROW, 1 - ROW])
    both = POLICIES["repair"](MixingContext(function, members, data, 50))(rows)
    for index, row in enumerate(rows):
        alone = repair(function, members, row, data, 50)
        assert all(torch.equal(alone[name], both[name][index]) for name in alone)


def test_the_scale_keeps_its_sign(data: Data) -> None:
    function, members = setup(data)
    assert repair(function, members, ROW, data)["2.weight"].sign().tolist() == [1, 1, -1, 1]


def test_members_and_mixture_are_not_changed(data: Data) -> None:
    function, members = setup(data)
    before = {name: tensor.clone() for name, tensor in members.items()}
    repair(function, members, ROW, data)
    assert all(torch.equal(members[name], before[name]) for name in before)


def test_without_batchnorm_nothing_is_repaired(data: Data) -> None:
    function, _ = network("layer")
    members = stack.stack_networks([function.init(seed) for seed in range(2)])
    mixed = stack.network_at(stack.mix(members, ROW[None]), 0)
    done = repair(function, members, ROW, data)
    assert all(torch.equal(done[name], mixed[name]) for name in mixed)


@pytest.mark.parametrize("end", [0, 1])
def test_an_end_with_its_own_statistics_is_itself(end: int, data: Data) -> None:
    function, members = setup(data)
    members = reestimate_batchnorm(function, members, data, None)
    row = stack.unit_rows(2)[end]
    own, done = stack.network_at(members, end), repair(function, members, row, data)
    torch.testing.assert_close(outputs(function, done, data), outputs(function, own, data), rtol=0.02, atol=0.02)
