"""The permuted ensemble: the deep one's predictions, nearer together."""

from pathlib import Path
from typing import Any

import pytest
import torch

from basin import stack
from basin.alignment.align import Reference
from basin.alignment.certificate import NotEquivalentError
from basin.constructions.deep import Deep
from basin.constructions.permuted import Permuted
from basin.ensemble import Ensemble, all_pairs
from basin.errors import UsageError
from basin.metrics.prediction import member_accuracies
from basin.models.symmetry import Group, Part
from basin.prediction import predict, reestimate_batchnorm
from basin.stack import Params, Stack
from basin.task import Task
from tests.support.aligned_trials import task
from tests.support.aligning import TINY_VIT

MODELS: dict[str, dict[str, object]] = {
    "mlp": {"model": "mlp", "hidden": 16},
    "batch": {"model": "resnet8", "width": 0.5},
    "layer": {"model": "resnet8", "width": 0.5, "norm": "layer"},
    "group": {"model": "resnet8", "width": 1.0, "norm": "group"},
    "vit": {"model": "vit"} | TINY_VIT,
}
VARIANTS: list[dict[str, Any]] = [
    {"matching": "weights", "restarts": 2},
    {"matching": "activations"},
    {"matching": "weights", "restarts": 1, "reference": "mean"},
    {"matching": "activations", "reference": "mean"},
]


def grown(work: Task, construction: Any) -> Ensemble:
    *_, ensemble = construction.grow(work)
    assert isinstance(ensemble, Ensemble)
    return ensemble


@torch.no_grad()
def probabilities(work: Task, thetas: Stack) -> list[torch.Tensor]:
    images = work.data.normalise(work.data.test.take(torch.arange(len(work.data.test)))[0]).double()
    return [work.network(wide(params), images).softmax(dim=1) for params in stack.iterate_networks(thetas)]


def wide(params: Params) -> Params:
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in params.items()}


@pytest.mark.parametrize("kind", MODELS)
def test_predictions_are_the_deep_ensemble_s(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    deep = grown(work, Deep(members=3)).members()
    expected = probabilities(work, deep)
    for variant in VARIANTS:
        ensemble = grown(work, Permuted(members=3, **variant))
        members = ensemble.members()
        assert ensemble.edges == all_pairs(3)
        assert not torch.equal(members[work.network.weights[0]], deep[work.network.weights[0]])
        for got, wanted in zip(probabilities(work, members), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


def test_it_costs_what_the_deep_ensemble_costs(tmp_path: Path, cache: Path) -> None:
    deep, permuted = task(tmp_path, cache), task(tmp_path, cache)
    grown(deep, Deep(members=3))
    grown(permuted, Permuted(members=3))
    assert permuted.meter == deep.meter
    assert Permuted(members=3).needs(15) == Deep(members=3).needs(15)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_certificates_come_with_the_members(variant: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    construction = Permuted(members=3, **variant)
    aligned = construction.align(work, grown(work, Deep(members=3)).members())
    assert all(certificate.error < 1e-9 * certificate.scale for certificate in aligned.certificates)
    restarts = construction.restarts if construction.matching == "weights" else 1
    assert all(certificate.restarts == restarts for certificate in aligned.certificates)


@pytest.mark.parametrize("reference", ["first", "mean"])
def test_certificates_say_what_became_of_the_barriers(reference: Reference, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=10, model="resnet8", width=0.5)
    ensemble = grown(work, Permuted(members=3, reference=reference))
    members, before = ensemble.members(), {name: tensor[3:] for name, tensor in ensemble.vertices.items()}

    def largest(thetas: Stack, own: int) -> float:
        """From midpoints that are mixed one by one; statistics of midpoints and ends are re-estimated."""
        labels, found = work.data.val.labels, []
        for other in {0, 1, 2} - {own}:
            ends = [stack.network_at(thetas, k) for k in (min(own, other), max(own, other))]
            middle = {n: (t + ends[1][n]) / 2 if t.is_floating_point() else t for n, t in ends[0].items()}
            three = reestimate_batchnorm(work.network, stack.stack_networks([*ends, middle]), work.data, None)
            first, last, mid = member_accuracies(
                predict(work.network, three, work.data.val, work.data), labels
            ).tolist()
            found.append(max(0.0, (first + last) / 2 - mid))
        return max(found)

    assert [proof.member for proof in ensemble.certificates] == ([1, 2] if reference == "first" else [0, 1, 2])
    for proof in ensemble.certificates:
        assert proof.barrier_before == pytest.approx(largest(before, proof.member))
        assert proof.barrier_after == pytest.approx(largest(members, proof.member))
        assert proof.barrier_before > 0


def test_the_members_come_nearer(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, hidden=32, epochs=10)
    deep = grown(work, Deep(members=2)).members()

    def distance(thetas: Stack) -> float:
        flat = stack.flatten_weights(thetas, work.network.weights)
        return float((flat[0] - flat[1]).norm())

    for variant in VARIANTS:
        assert distance(grown(work, Permuted(members=2, **variant)).members()) < 0.95 * distance(deep)


def test_one_member_is_left_alone(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    deep = grown(work, Deep(members=1)).members()
    for variant in VARIANTS:
        members = grown(work, Permuted(members=1, **variant)).members()
        assert all(torch.equal(members[name], deep[name]) for name in deep)


@pytest.mark.parametrize("matching", ["weights", "activations"])
def test_a_model_without_a_spec_is_traced(matching: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, model="torchvision:resnet18", epochs=1, train_size=40)
    deep = grown(work, Deep(members=2)).members()
    ensemble = grown(work, Permuted(members=2, matching=matching, restarts=1))  # type: ignore[arg-type]
    members = ensemble.members()
    assert not torch.equal(members["layer1.0.conv1.weight"], deep["layer1.0.conv1.weight"])
    for got, wanted in zip(probabilities(work, members), probabilities(work, deep), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)


def test_units_that_no_submodule_returns_are_refused_before_training(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, model="torchvision:shufflenet_v2_x0_5", epochs=1)
    with pytest.raises(
        UsageError, match=r"^ShuffleNetV2: activation matching cannot observe .*: use matching=weights$"
    ):
        grown(work, Permuted(members=2, matching="activations"))
    assert work.meter.passes == 0


def test_a_wrong_spec_is_refused_before_training(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = task(tmp_path, cache, model="mlp")
    wrong = work.network.symmetry | {"pixels": Group(64, (Part((("1.0.weight", 1),), (("0", "output"),)),))}
    monkeypatch.setitem(work.network.__dict__, "symmetry", wrong)
    with pytest.raises(NotEquivalentError, match=r"^MLPModule: permuting the units of 'pixels' changes the logits"):
        grown(work, Permuted(members=2))
    assert work.meter.passes == 0
