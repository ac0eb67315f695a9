"""What is measured of a finished ensemble, option by option."""

from pathlib import Path

import pytest
import torch
from tiny import MODELS, fresh, grown, task

from basin import stack
from basin.connectivity.hull import gaps, hull
from basin.connectivity.paths import connectivity, grid, instability, paths
from basin.connectivity.probe import Probe
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.constructions.permuted import Permuted
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.evaluation import predict
from basin.measure import Evaluation, measure, validate
from basin.metrics.temperature import scaled_nll
from basin.policies import Setting
from basin.spec import replace_known
from basin.task import Task

MEASURES = {"q_bar", "q_min", "q_star", "barrier", "instability", "connected", "centroid_gap", "hull_gap", "hull_min"}


def untrained(work: Task, count: int) -> Ensemble:
    return Ensemble.of_members(fresh(work.network, count))


def connectivities(scores: dict[str, float]) -> set[str]:
    return {name for name in scores if name.rpartition("_")[2] in ("reset", "interp", "repair")}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ("reset", {"reset"}),
        ("reset+interp", {"reset", "interp"}),
        ("all", {"reset", "interp", "repair"}),
    ],
)
@pytest.mark.parametrize("kind", ["batch", "layer", "group", "mlp", "vit"])
def test_policies_are_those_asked_for_where_there_is_batchnorm(
    kind: str, policies: str, expected: set[str], tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    wanted = Evaluation(alphas=3, policies=policies, hull_points=1)  # type: ignore[arg-type]
    found = measure(work, untrained(work, 2), wanted)
    names = expected if kind == "batch" else {"reset"}
    assert {p.policy for p in found.paths} == {p.policy for p in found.hull} == names
    assert connectivities(found.scores) == {
        f"{split}_{name}_{policy}" for split in ("val", "test") for name in MEASURES for policy in names
    }


def test_numbers_are_those_of_paths_and_hull(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    ensemble = untrained(work, 3)
    found = measure(work, ensemble, Evaluation(alphas=5, policies="all", hull_points=2, bn_images=30))
    splits, policies = {"val": work.data.val, "test": work.data.test}, ("reset", "interp", "repair")
    probe = Probe(Setting(work.network, ensemble.members(), work.data, 30), splits)
    assert found.paths == list(paths(probe, alphas=grid(5), policies=policies))
    assert found.hull == list(hull(probe, points=2, policies=policies))
    wanted = connectivity(found.paths) | gaps(found.hull)
    assert {name: found.scores[name] for name in connectivities(found.scores)} == wanted


def test_connectivity_on_training_images_is_of_a_sample_of_them(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = untrained(work, 2)
    found = measure(work, ensemble, Evaluation(alphas=3, train_images=25))
    assert {name for name in found.scores if name.startswith("train_")} == {f"train_{name}_reset" for name in MEASURES}
    assert {p.split for p in found.paths} == {"val", "test", "train"}
    sample = work.data.train.sample(25)
    pixels, labels = sample.take(torch.arange(25))
    for k, alpha in ((0, 0.0), (1, 1.0)):
        with torch.no_grad():
            logits = work.network(stack.row(ensemble.vertices, k), work.data.normalise(pixels))
        (point,) = (p for p in found.paths if p.split == "train" and p.alpha == alpha)
        assert point.accuracy == float((logits.argmax(dim=1) == labels).double().mean() * 100)
    # More than there are is all of them.
    every = measure(work, ensemble, Evaluation(alphas=3, train_images=1000)).paths
    assert every == measure(work, ensemble, Evaluation(alphas=3, train_images=100)).paths
    plain = measure(work, ensemble, Evaluation(alphas=3))
    assert not any(name.startswith("train_") for name in plain.scores)


def test_a_subset_is_the_images_at_its_positions(tmp_path: Path, cache: Path) -> None:
    whole = task(tmp_path, cache).data.train
    positions = torch.tensor([7, 3, 99, 3])
    part = whole.subset(positions)
    assert len(part) == 4
    for order in (torch.arange(4), torch.tensor([2, 0])):
        for found, wanted in zip(part.take(order), whole.take(positions[order]), strict=True):
            assert torch.equal(found, wanted)
    assert torch.equal(part.labels, whole.labels[positions])
    assert torch.equal(part.subset(torch.tensor([2])).take(torch.tensor([0]))[0], whole.take(torch.tensor([99]))[0])


@pytest.mark.parametrize("side", [0, 2, 3])
def test_the_plane_has_its_points_and_all_vertices(side: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = measure(work, untrained(work, 4), Evaluation(alphas=3, plane_points=side)).plane
    assert len([p for p in found if p.vertex is None]) == side**2
    assert [p.vertex for p in found if p.vertex is not None] == ([0, 1, 2, 3] if side else [])
    assert {p.split for p in found} <= {"test"}


def test_two_networks_have_no_plane(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert measure(work, untrained(work, 2), Evaluation(alphas=3, plane_points=3)).plane == []


def test_networks_on_one_line_have_no_plane(tmp_path: Path, cache: Path) -> None:
    # The whole budget is one trunk.
    work = task(tmp_path, cache)
    ensemble = grown(work, Constrained(members=3, t=1.0))
    found = measure(work, ensemble, Evaluation(alphas=3, plane_points=3))
    assert found.plane == []
    assert found.scores["test_q_bar_reset"] == 0


def test_the_plane_of_a_permuted_ensemble_shows_it_before_and_after(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Permuted(members=2))
    found = measure(work, ensemble, Evaluation(alphas=3, plane_points=2)).plane
    assert ensemble.anchors == (0, 3, 1)
    places = {p.vertex: (p.x, p.y, p.residual) for p in found if p.vertex is not None}
    assert places[0] == places[2] == pytest.approx((0, 0, 0), abs=1e-6)  # member 0 is where it was
    weights = stack.flatten(ensemble.vertices, work.network.weights).double()
    assert places[1] == pytest.approx((float((weights[1] - weights[0]).norm()), 0, 0), abs=1e-6)
    assert places[3][2] == pytest.approx(0, abs=1e-6)
    # A permutation keeps the length, so nearer means a larger inner product.
    assert places[1][0] < sum(c**2 for c in places[3]) ** 0.5


def test_predictions_are_kept_as_they_were_made(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    ensemble = untrained(work, 2)
    assert measure(work, ensemble, Evaluation(alphas=3)).predictions == []
    found = measure(work, ensemble, Evaluation(alphas=3, predictions=True)).predictions
    assert [kept.split for kept in found] == ["val", "test"]
    for kept in found:
        images = getattr(work.data, kept.split)
        assert torch.equal(kept.log_probs, predict(work.network, ensemble.vertices, images, work.data))
        assert torch.equal(kept.labels, images.labels)


def test_the_temperature_of_test_images_is_that_of_validation(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Deep(members=2))
    found = measure(work, ensemble, Evaluation(alphas=3, predictions=True))
    val, test = ((kept.log_probs.double(), kept.labels) for kept in found.predictions)
    assert found.scores["test_scaled_nll"] == scaled_nll(*test, fit=val) != scaled_nll(*test, fit=test)
    assert "val_scaled_nll" not in found.scores


def test_no_hull_points_leave_the_centroid(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = measure(work, untrained(work, 3), Evaluation(alphas=3, hull_points=0))
    assert [(p.split, p.index) for p in found.hull] == [("val", 0), ("test", 0)]
    assert {name for name in found.scores if "hull" in name} == set()
    assert {name for name in found.scores if "centroid" in name} == {
        "val_centroid_gap_reset",
        "test_centroid_gap_reset",
    }


def test_one_network_has_no_mixtures(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = measure(work, untrained(work, 1), Evaluation(alphas=3))
    assert (found.paths, found.hull, connectivities(found.scores)) == ([], [], set())
    assert validate(work, untrained(work, 1), Evaluation(alphas=3)).keys() == {
        name for name in validate(work, untrained(work, 2), Evaluation(alphas=3)) if "q_mid" not in name
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alphas": 4}, "alphas=4: expected an odd number, so that ½ is on the grid"),
        ({"policies": "none"}, r"policies=none: expected one of reset, reset\+interp, all"),
        ({"hull_points": -1}, "hull_points=-1: expected an integer of 0 or more"),
        ({"train_images": -1}, "train_images=-1: expected an integer of 0 or more"),
        ({"plane_points": -1}, "plane_points=-1: expected an integer of 0 or more"),
    ],
)
def test_options_that_mean_nothing_are_errors(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace_known(Evaluation(), fields)


def test_instability_is_measured_from_the_mean_of_the_ends() -> None:
    # Ends 80 and 100: their mean is 90, where the chord at α = ¼ is 85.
    assert instability(torch.tensor([80.0, 60.0, 70.0, 100.0])) == 30
    assert instability(torch.tensor([80.0, 95.0, 100.0])) == 10  # the worse end itself
    assert instability(torch.tensor([90.0, 95.0, 90.0])) == 0
