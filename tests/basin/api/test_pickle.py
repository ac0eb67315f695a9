"""Every result of the library can be pickled, and has the same numbers afterwards."""

import pickle
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from torch import nn

import basin
from tests.support.own_networks import Net, digits, net_symmetry, trained_networks

LIVE = ("given", "probe")
"""Fields of a comparison that hold networks and images."""
CLASSES = {name for name in basin.__all__ if is_dataclass(getattr(basin, name))}


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other)
    elif isinstance(one, nn.Module):
        assert_same(one.state_dict(), other.state_dict())
    elif is_dataclass(one):
        for field in fields(one):
            if field.name not in LIVE:
                assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, Mapping):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


@pytest.fixture(scope="module")
def results():
    train, test = digits()
    networks = trained_networks()
    compared = basin.compare(
        networks, train=train, test=test, align="weights", symmetry=net_symmetry(), restarts=1, points=3, hull_points=1
    )
    path = basin.interpolate(*networks[:2], test=test, policy="interp", points=3)
    return {
        "Comparison": compared,
        "BarrierMatrix": compared.barriers["reset"],
        "BasinVerdict": compared.verdict,
        "Scores": compared.ensemble,
        "Soup": compared.soup,
        "Path": path,
        "PathBarrier": path.barrier,
        "PlaneGrid": compared.plane(points=3),
        "Aligned": basin.align(*networks[:2], train=train, symmetry=net_symmetry(), restarts=1),
        "Trained": basin.train(Net(), train=train, construction="deep", members=2, epochs=1),
    }


def test_every_class_of_results_is_tried(results):
    assert results.keys() == CLASSES


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_pickled_result_has_equal_numbers(name, results):
    again = pickle.loads(pickle.dumps(results[name]))
    assert_same(results[name], again)
    assert repr(results[name]) == repr(again)


def test_a_pickled_comparison_scores_further_networks(results):
    compared = results["Comparison"]
    again = pickle.loads(pickle.dumps(compared))
    assert_same(compared.plane(points=3), again.plane(points=3))
    assert_same(compared.networks, again.networks)
