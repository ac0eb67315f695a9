import numpy as np
import pytest
import torch

from basin.connectivity.distance import member_distance
from basin.ensemble import Ensemble
from basin.measure import Evaluation, measure_ensemble
from tests.support.tiny_trial import MODELS, fresh, task


def test_distance_against_plain_loops():
    generator = torch.Generator().manual_seed(0)
    members = {"a": torch.randn(3, 2, 2, generator=generator), "b": torch.randn(3, 5, generator=generator)}
    members["running_mean"] = torch.full((3, 4), 100.0)
    flat = np.array([[*members["a"][k].flatten(), *members["b"][k]] for k in range(3)], dtype=float)
    apart = [np.sqrt(((flat[i] - flat[j]) ** 2).sum()) for i, j in ((0, 1), (0, 2), (1, 2))]
    norm = np.sqrt(np.mean([(row**2).sum() for row in flat]))
    assert member_distance(members, ["a", "b"]) == pytest.approx(np.mean(apart) / norm)
    assert member_distance({"a": members["a"][:1]}, ["a"]) == 0.0
    assert member_distance({"a": members["a"][:1].expand(3, 2, 2)}, ["a"]) == 0.0


def test_it_is_measured_of_every_ensemble_of_two_or_more(tmp_path, cache):
    work = task(tmp_path, cache, **MODELS["mlp"])
    alone, two = (
        measure_ensemble(work, Ensemble.of_members(fresh(work.network, n)), Evaluation(alphas=3)) for n in (1, 2)
    )
    assert "member_distance" not in alone.scores
    assert 1.0 < two.scores["member_distance"] < 2.0  # independent directions: about the square root of 2
