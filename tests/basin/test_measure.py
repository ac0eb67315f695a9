"""What is measured of a finished ensemble, option by option."""

from pathlib import Path

import pytest
import torch

from basin import stack
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.connectivity.hull import hull_gaps, score_hull
from basin.connectivity.paths import alpha_grid, instability, score_paths, summarise_paths
from basin.connectivity.probe import Probe
from basin.connectivity.verdicts import hull_bounds, path_bounds
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.constructions.permuted import Permuted
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.measure import Evaluation, measure_ensemble, validate_ensemble
from basin.metrics.temperature import scaled_nll
from basin.prediction import predict
from basin.spec import replace_known
from basin.task import Task
from basin.training.loop import DivergedError
from tests.support.tiny_trial import MODELS, fresh, grown, task

PATHS = {"q_bar", "q_min", "q_star", "barrier", "instability", "loss_barrier"}
BOUNDS = {f"{name}_{end}" for name in ("basin", "loss", "hull", "hull_loss") for end in ("upper", "lower")}
MEASURES = {*PATHS, *BOUNDS, "centroid_gap", "hull_gap", "hull_min"}


def untrained(work: Task, count: int) -> Ensemble:
    return Ensemble.of_members(fresh(work.network, count))


def connectivities(scores: dict[str, float]) -> set[str]:
    return {name for name in scores if name.rpartition("_")[2] in ("reset", "interp", "repair")}


def test_a_new_policy_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    monkeypatch.setitem(POLICIES, "other", POLICIES["interp"])
    work = task(tmp_path, cache, **MODELS["batch"])
    wanted = Evaluation(alphas=3, policies="all", hull_points=1)
    scores = measure_ensemble(work, Ensemble.of_members(fresh(work.network, 2)), wanted).scores
    for split in ("val", "test"):
        assert scores[f"{split}_q_bar_other"] == scores[f"{split}_q_bar_interp"]


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
    found = measure_ensemble(work, untrained(work, 2), wanted)
    names = expected if kind == "batch" else {"reset"}
    assert {p.policy for p in found.paths} == {p.policy for p in found.hull} == names
    assert connectivities(found.scores) == {
        f"{split}_{name}_{policy}" for split in ("val", "test") for name in MEASURES for policy in names
    }


def test_numbers_are_those_of_paths_and_hull(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    ensemble = untrained(work, 3)
    found = measure_ensemble(work, ensemble, Evaluation(alphas=5, policies="all", hull_points=2, bn_images=30))
    splits, policies = {"val": work.data.val, "test": work.data.test}, ("reset", "interp", "repair")
    probe = Probe(MixingContext(work.network, ensemble.members(), work.data, 30), splits)
    assert found.paths == list(score_paths(probe, alphas=alpha_grid(5), policies=policies))
    assert found.hull == list(score_hull(probe, points=2, policies=policies))
    wanted = summarise_paths(found.paths) | hull_gaps(found.hull)
    wanted |= path_bounds(probe, [(0, 1), (0, 2), (1, 2)], alphas=alpha_grid(5), policies=policies)
    wanted |= hull_bounds(probe, points=2, policies=policies)
    assert {name: found.scores[name] for name in connectivities(found.scores)} == wanted


def test_connectivity_on_training_images_is_of_a_sample_of_them(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = untrained(work, 2)
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, train_images=25))
    assert {name for name in found.scores if name.startswith("train_")} == {f"train_{name}_reset" for name in MEASURES}
    assert {p.split for p in found.paths} == {"val", "test", "train"}
    sample = work.data.train.sample(25)
    pixels, labels = sample.take(torch.arange(25))
    for k, alpha in ((0, 0.0), (1, 1.0)):
        with torch.no_grad():
            logits = work.network(stack.network_at(ensemble.vertices, k), work.data.normalise(pixels))
        (point,) = (p for p in found.paths if p.split == "train" and p.alpha == alpha)
        assert point.accuracy == float((logits.argmax(dim=1) == labels).double().mean() * 100)
    # More than there are is all of them.
    every = measure_ensemble(work, ensemble, Evaluation(alphas=3, train_images=1000)).paths
    assert every == measure_ensemble(work, ensemble, Evaluation(alphas=3, train_images=100)).paths
    plain = measure_ensemble(work, ensemble, Evaluation(alphas=3))
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
    found = measure_ensemble(work, untrained(work, 4), Evaluation(alphas=3, plane_points=side)).plane
    assert len([p for p in found if p.vertex is None]) == side**2
    assert [p.vertex for p in found if p.vertex is not None] == ([0, 1, 2, 3] if side else [])
    assert {p.split for p in found} <= {"test"}


def test_two_networks_have_no_plane(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    assert measure_ensemble(work, untrained(work, 2), Evaluation(alphas=3, plane_points=3)).plane == []


def test_networks_on_one_line_have_no_plane(tmp_path: Path, cache: Path) -> None:
    # The whole budget is one trunk.
    work = task(tmp_path, cache)
    ensemble = grown(work, Constrained(members=3, t=1.0))
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, plane_points=3))
    assert found.plane == []
    assert found.scores["test_q_bar_reset"] == 0


def test_the_plane_of_a_permuted_ensemble_shows_it_before_and_after(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Permuted(members=2))
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, plane_points=2)).plane
    assert ensemble.anchors == (0, 3, 1)
    places = {p.vertex: (p.x, p.y, p.residual) for p in found if p.vertex is not None}
    assert places[0] == places[2] == pytest.approx((0, 0, 0), abs=1e-6)  # member 0 is where it was
    weights = stack.flatten_weights(ensemble.vertices, work.network.weights).double()
    assert places[1] == pytest.approx((float((weights[1] - weights[0]).norm()), 0, 0), abs=1e-6)
    assert places[3][2] == pytest.approx(0, abs=1e-6)
    # A permutation keeps the length, so nearer means a larger inner product.
    assert places[1][0] < sum(c**2 for c in places[3]) ** 0.5


def test_predictions_are_kept_as_they_were_made(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    ensemble = untrained(work, 2)
    assert measure_ensemble(work, ensemble, Evaluation(alphas=3)).predictions == []
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, predictions=True)).predictions
    assert [kept.split for kept in found] == ["val", "test"]
    for kept in found:
        images = getattr(work.data, kept.split)
        assert torch.equal(kept.log_probs, predict(work.network, ensemble.vertices, images, work.data))
        assert torch.equal(kept.labels, images.labels)


def test_the_temperature_of_test_images_is_that_of_validation(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Deep(members=2))
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, predictions=True))
    val, test = ((kept.log_probs.double(), kept.labels) for kept in found.predictions)
    assert found.scores["test_scaled_nll"] == scaled_nll(*test, fit=val) != scaled_nll(*test, fit=test)
    assert "val_scaled_nll" not in found.scores


def test_no_hull_points_leave_the_centroid(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = measure_ensemble(work, untrained(work, 3), Evaluation(alphas=3, hull_points=0))
    assert [(p.split, p.index) for p in found.hull] == [("val", 0), ("test", 0)]
    assert {name for name in found.scores if "hull" in name} == {
        f"{split}_{name}_reset" for split in ("val", "test") for name in BOUNDS if name.startswith("hull")
    }
    assert {name for name in found.scores if "centroid" in name} == {
        "val_centroid_gap_reset",
        "test_centroid_gap_reset",
    }


def test_one_network_has_no_mixtures(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    found = measure_ensemble(work, untrained(work, 1), Evaluation(alphas=3))
    assert (found.paths, found.hull, connectivities(found.scores)) == ([], [], set())
    assert validate_ensemble(work, untrained(work, 1), Evaluation(alphas=3)).keys() == {
        name for name in validate_ensemble(work, untrained(work, 2), Evaluation(alphas=3)) if "_mid_" not in name
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


@pytest.mark.parametrize("model", ["mlp", "batch"])
def test_scores_that_are_not_finite_are_a_divergence(model: str, tmp_path: Path, cache: Path) -> None:
    """Weights of the largest numbers are finite; what they compute is not."""
    work = task(tmp_path, cache, **MODELS[model])
    largest = torch.finfo(torch.float32).max
    ensemble = Ensemble.of_members({name: largest * value.sign() for name, value in fresh(work.network, 2).items()})
    assert all(bool(weights.isfinite().all()) for weights in ensemble.vertices.values())
    with pytest.raises(DivergedError, match=r"val_\w+ is (nan|inf) after training"):
        measure_ensemble(work, ensemble, Evaluation(alphas=3))
