"""Many networks: to the first, or to the mean of the others."""

from itertools import combinations

import pytest
import torch

from basin import stack
from basin.alignment.activation_matching import ActivationMatching
from basin.alignment.align import Reference, align_members, to_mean
from basin.alignment.matching import Matcher
from basin.alignment.permutation import permute_network
from basin.alignment.weight_matching import WeightMatching, inner_product
from basin.data import Data
from basin.stack import Stack
from tests.support.aligning import difference, distinct, network, shuffled

REFERENCES: tuple[Reference, ...] = ("first", "mean")


def together(thetas: Stack, names: tuple[str, ...]) -> float:
    """Σ_{i<j} ⟨θ_i, θ_j⟩, which merge-many raises."""
    networks = [{name: row[name].double() for name in names} for row in stack.iterate_networks(thetas)]
    return sum(inner_product(a, b) for a, b in combinations(networks, 2))


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("kind", ["mlp", "batch", "group", "vit"])
def test_functions_stay_and_networks_come_nearer(kind: str, method: str, reference: Reference, data: Data) -> None:
    function, symmetry = network(kind)
    members = stack.stack_networks([function.init(seed) for seed in range(3)])
    matcher: Matcher = (
        WeightMatching(function, symmetry)
        if method == "weights"
        else ActivationMatching(function, symmetry, data, images=40)
    )
    aligned = align_members(function, members, symmetry=symmetry, data=data, matcher=matcher, reference=reference)
    assert [c.member for c in aligned.certificates] == ([1, 2] if reference == "first" else [0, 1, 2])
    assert all(c.error < 1e-12 * c.scale and c.after > c.before for c in aligned.certificates)
    for k in range(3):
        wide = [
            {n: t.double() if t.is_floating_point() else t for n, t in stack.network_at(thetas, k).items()}
            for thetas in (members, aligned.members)
        ]
        assert difference(function, wide[0], wide[1]) < 1e-12
        assert all(torch.equal(wide[0][n].flatten().sort()[0], wide[1][n].flatten().sort()[0]) for n in members)
    if reference == "first":
        assert all(torch.equal(aligned.members[name][0], members[name][0]) for name in members)
    if method == "weights":
        assert together(aligned.members, function.weights) > together(members, function.weights)


@pytest.mark.parametrize("kind", ["mlp", "resnet20"])
def test_planted_copies_become_one_network(kind: str, data: Data) -> None:
    function, symmetry = network(kind)
    params = distinct(function)
    members = stack.stack_networks([params, *(shuffled(params, symmetry, seed)[0] for seed in (1, 2))])
    for reference in REFERENCES:
        matcher = WeightMatching(function, symmetry, restarts=3)
        aligned = align_members(
            function, members, symmetry=symmetry, data=data, matcher=matcher, reference=reference
        ).members
        assert all(torch.equal(tensor[0], tensor[k]) for tensor in aligned.values() for k in (1, 2)), reference


def test_merge_many_ends_where_no_member_gains(data: Data) -> None:
    function, symmetry = network("batch")
    members = stack.stack_networks([distinct(function, seed) for seed in range(4)])
    matcher = WeightMatching(function, symmetry)
    first = to_mean(members, symmetry, matcher)
    assert list(first) == [0, 1, 2, 3]
    moved = stack.stack_networks(
        [permute_network(stack.network_at(members, k), symmetry, match.permutation) for k, match in first.items()]
    )
    again = to_mean(moved, symmetry, matcher)
    assert not any(match.gained for match in again.values())
    assert together(moved, function.weights) > together(members, function.weights)


@pytest.mark.parametrize("reference", REFERENCES)
def test_one_network_stays(reference: Reference, data: Data) -> None:
    function, symmetry = network("mlp")
    members = stack.stack_networks([distinct(function)])
    matcher = WeightMatching(function, symmetry)
    aligned = align_members(function, members, symmetry=symmetry, data=data, matcher=matcher, reference=reference)
    assert aligned.certificates == ()
    assert all(torch.equal(aligned.members[name], members[name]) for name in members)


def test_alignment_is_a_function_of_the_members(data: Data) -> None:
    function, symmetry = network("resnet20")
    members = stack.stack_networks([distinct(function, seed) for seed in range(3)])
    for reference in REFERENCES:
        matcher = WeightMatching(function, symmetry, restarts=2)
        one, two = (
            align_members(function, members, symmetry=symmetry, data=data, matcher=matcher, reference=reference)
            for _ in range(2)
        )
        assert one.certificates == two.certificates
        assert all(torch.equal(one.members[name], two.members[name]) for name in members)
