"""The distillation loss against its formula and autograd, with one teacher or all, on plain or mixed images."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from basin import stack
from basin.constructions.constrained import Constrained
from basin.constructions.distilled import Distilled
from basin.data.batches import batch_positions
from basin.measure import Evaluation, measure_ensemble
from basin.metrics.prediction import member_accuracies
from basin.prediction import predict
from basin.seeds import make_generator
from basin.stack import Stack
from basin.task import Task
from basin.training.constraints import SAMPLERS, tie_members
from basin.training.distillation import Distillation, Teachers
from basin.training.loop import State
from basin.training.objective import Answers, Batch, Objective, mixup
from tests.support.tiny_trial import (
    MODELS,
    WAYS,
    advance,
    batches,
    by_autograd,
    copy,
    double,
    fresh,
    gradient,
    grown,
    same,
    spent,
    task,
)


@pytest.fixture
def work(tmp_path: Path, cache: Path) -> Task:
    return task(tmp_path, cache)


def kl(target: Tensor, logits: Tensor) -> Tensor:
    """Mean over the batch of Σ_c p_c (log p_c − log q_c)."""
    predicted = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return (target * (target.log() - predicted.log())).sum(dim=1).mean()


def tempered(logits: Tensor, tau: float) -> Tensor:
    return (logits / tau).exp() / (logits / tau).exp().sum(dim=1, keepdim=True)


def distillation(work: Task, teachers: Stack, tau: float, weight: float) -> Distillation:
    return Distillation(Teachers(work.network, teachers), temperature=tau, weight=weight)


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("row", [(0.0, 1.0, 0.0), (0.25, 0.0, 0.75)])
def test_distillation_is_the_formula(work: Task, tau: float, weight: float, row: tuple[float, ...]) -> None:
    teachers, (given, *_) = double(fresh(work.network, 3)), batches(work, 1)
    draw = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(20, 10, generator=draw, dtype=torch.float64)).requires_grad_()
    shares = torch.tensor(row, dtype=torch.float64)

    with torch.no_grad():
        outputs = [work.network(stack.network_at(teachers, k), given.images) for k in range(3)]
    target = torch.stack([shares[k] * tempered(outputs[k], tau) for k in range(3)]).sum(dim=0)
    picked = tempered(logits, 1.0)[torch.arange(20), given.labels]
    expected = (1 - weight) * -picked.log().mean() + weight * tau**2 * kl(target, logits / tau)
    (wanted,) = torch.autograd.grad(expected, logits)

    found = distillation(work, teachers, tau, weight)(logits, given, shares, Answers())
    (gradient,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-13)


def test_gradient_of_distillation_does_not_vanish_with_temperature(work: Task) -> None:
    # Hinton 2015, section 2: without τ² the gradient shrinks as 1/τ²; with it, it tends to (z − v)/N per class.
    teachers, (given, *_) = double(fresh(work.network, 1)), batches(work, 1)
    logits = torch.zeros(20, 10, dtype=torch.float64, requires_grad=True)
    loss = distillation(work, teachers, 1e3, 1.0)(logits, given, torch.ones(1, dtype=torch.float64), Answers())
    (gradient,) = torch.autograd.grad(loss, logits)
    with torch.no_grad():
        outputs = work.network(stack.network_at(teachers, 0), given.images)
    centred = outputs - outputs.mean(dim=1, keepdim=True)
    torch.testing.assert_close(gradient, -centred / (10 * 20), rtol=1e-2, atol=1e-6)


def test_weight_zero_is_cross_entropy_exactly(work: Task) -> None:
    (given, *_) = batches(work, 1)
    logits = torch.randn(20, 10, dtype=torch.float64)
    row = torch.ones(1, dtype=torch.float64)
    loss = distillation(work, fresh(work.network, 1), 2.0, 0.0)
    answers = Answers()
    assert torch.equal(loss(logits, given, row, answers), F.cross_entropy(logits, given.labels))
    assert not answers.teacher_logits


def test_a_teacher_agreed_with_costs_nothing(work: Task) -> None:
    teachers, (given, *_) = double(fresh(work.network, 1)), batches(work, 1)
    logits = work.network(stack.network_at(teachers, 0), given.images)
    loss = distillation(work, teachers, 3.0, 1.0)(logits, given, torch.ones(1, dtype=torch.float64), Answers())
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_a_teacher_sees_a_batch_once(work: Task) -> None:
    loss = distillation(work, double(fresh(work.network, 3)), 2.0, 0.5)
    first, second = batches(work, 2)
    logits = torch.randn(20, 10, dtype=torch.float64)
    units, answers = stack.unit_rows(3), Answers()
    calls: list[Tensor] = []
    handle = work.network.module.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0]))
    loss(logits, first, units[0], answers)
    loss(logits, first, units[0], answers)
    assert len(answers.teacher_logits) == len(calls) == 1
    loss(logits, first, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64), answers)
    assert len(answers.teacher_logits) == len(calls) == 2
    loss(logits, second, units[0], Answers())
    assert len(calls) == 3
    handle.remove()


def test_teachers_are_evaluated_not_trained(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    teachers = fresh(work.network, 2)
    before = copy(teachers)
    objective = Objective(Distillation(Teachers(work.network, teachers), temperature=2.0, weight=1.0))
    advance(work, State(fresh(work.network, 2)), 3, objective)
    assert same(teachers, before)


def test_teachers_are_read_once(tmp_path: Path, cache: Path) -> None:
    construction = Distilled(members=3, t=0.2)
    expected = grown(task(tmp_path / "kept", cache), construction).vertices
    growing = construction.grow(task(tmp_path / "gone", cache))
    next(growing)
    shutil.rmtree(tmp_path / "gone")
    *_, ensemble = growing
    assert same(ensemble.vertices, expected)


def test_the_plane_shows_students_and_their_teachers(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Distilled(members=3, t=0.2))
    found = measure_ensemble(work, ensemble, Evaluation(alphas=3, plane_points=2))
    vertices = {point.vertex: point for point in found.plane if point.vertex is not None}
    teachers, students = (
        stack.flatten_weights(s, work.network.weights).double() for s in (work.teachers(3), ensemble.vertices)
    )
    apart = {k: float((w - students[0]).norm()) for k, w in enumerate([*students, *teachers])}
    assert {k: math.hypot(p.x, p.y, p.residual) for k, p in vertices.items()} == pytest.approx(apart, abs=1e-6)
    assert [k for k, p in vertices.items() if p.residual < 1e-6] == [0, 1, 4]  # student 0, student 1, teacher 1
    held = work.data.test
    scores = member_accuracies(predict(work.network, work.teachers(3), held, work.data).double(), held.labels)
    assert [vertices[k].accuracy for k in (3, 4, 5)] == scores.tolist()
    assert stack.count_networks(ensemble.members()) == len(found.members) == 3


def test_who_learns_from_all_teachers_has_none_of_its_own(tmp_path: Path, cache: Path) -> None:
    ensemble = grown(task(tmp_path, cache), Distilled(members=3, t=0.2, teacher="ensemble"))
    assert ensemble.companions is None
    assert ensemble.anchors == (0, 1, 2)


# All teachers together.


@pytest.mark.parametrize("row", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.5, 0.3)])
def test_every_student_learns_from_the_teachers_mean(work: Task, row: tuple[float, ...]) -> None:
    teachers, (given, *_) = double(fresh(work.network, 3)), batches(work, 1)
    logits = 3 * torch.randn(20, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        mean = torch.stack(
            [tempered(work.network(t, given.images), 2.5) for t in stack.iterate_networks(teachers)]
        ).mean(dim=0)
    picked = tempered(logits, 1.0)[torch.arange(20), given.labels]
    expected = 0.3 * -picked.log().mean() + 0.7 * 2.5**2 * kl(mean, logits / 2.5)
    loss = Distillation(Teachers(work.network, teachers), temperature=2.5, weight=0.7, shared=True)
    shares = torch.tensor(row, dtype=torch.float64)
    # ⅓ is a float32 in the loss.
    answers = Answers()
    torch.testing.assert_close(loss(logits, given, shares, answers), expected, rtol=1e-7, atol=0)
    loss(logits, given, shares, answers)
    assert len(answers.teacher_logits) == 3


def test_passes_of_students_of_all_teachers(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, augment="crop")
    grown(work, Distilled(members=3, t=0.2, beta=0.5, teacher="ensemble"))
    # Each student's batch through each teacher; the mixed network sees one of these batches.
    assert spent(work.meter) == (3 + 4 * 12, 3 * 15, 3 * 3 * 12)


def test_what_is_remembered_is_what_would_be_answered(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    teachers, (given, *_) = fresh(work.network, 2), batches(work, 1)
    asked, kept = (Teachers(work.network, teachers) for _ in range(2))
    assert kept.remember(work.data, 20) == 2 * 5
    where = batch_positions(work.data, seed=0, member=0, step=0, batch_size=20)
    known = Batch(given.images.float(), given.labels, where)
    remembered, computed = Answers(), Answers()
    unknown = Batch(given.images.float(), given.labels)
    torch.testing.assert_close(kept.logits(1, known, remembered), asked.logits(1, unknown, computed))
    assert not remembered.teacher_logits
    assert list(computed.teacher_logits) == [1]


# Mixed images.


def distinct(count: int) -> Batch:
    """Image i is i everywhere, its label i."""
    images = torch.arange(float(count))[:, None, None, None].expand(count, 2, 3, 3)
    return Batch(images.clone(), torch.arange(count))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_mixes_images_and_labels_alike(alpha: float) -> None:
    count = 12
    for seed in range(20):
        given = distinct(count)
        mixed = mixup(alpha, count)(given, make_generator(seed))
        assert torch.equal(given.images, distinct(count).images)
        assert torch.equal(given.labels, torch.arange(count))
        # Labels say who was mixed with whom, and how much; images must say the same.
        torch.testing.assert_close(mixed.labels.sum(dim=1), torch.ones(count))
        assert bool(((mixed.labels > 0).sum(dim=1) <= 2).all())
        others, shares = [], set()
        for i, label in enumerate(mixed.labels):
            left = label.clone()
            left[i] = 0
            if float(label[i]) < 1 - 1e-6:
                others.append(int(left.argmax()))
                shares.add(round(float(label[i]), 5))
            else:
                others.append(i)
        assert len(shares) == 1
        assert sorted(others) == list(range(count))
        by_hand = (mixed.labels @ torch.arange(float(count)))[:, None, None, None].expand(count, 2, 3, 3)
        torch.testing.assert_close(mixed.images, by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_mixup_draws_beta(alpha: float) -> None:
    # Of many images nearly each is mixed with another one.
    given, draws = distinct(30), make_generator(0, "test")
    gammas = []
    for _ in range(500):
        labels = mixup(alpha, 30)(given, draws).labels
        gammas.append(float(labels.diagonal().min()))
    found, variance = torch.tensor(gammas, dtype=torch.float64), 1 / (4 * (2 * alpha + 1))
    assert float(found.mean()) == pytest.approx(0.5, abs=4 * math.sqrt(variance / 500))
    assert float(found.var()) == pytest.approx(variance, rel=0.25)


def test_mixup_of_extreme_draws_is_finite() -> None:
    draws = make_generator(0, "test")
    for _ in range(300):
        mixed = mixup(0.01, 3)(distinct(3), draws)
        assert bool(mixed.images.isfinite().all())
        torch.testing.assert_close(mixed.labels.sum(dim=1), torch.ones(3))


def test_mixup_is_a_function_of_member_and_step(tmp_path: Path, cache: Path) -> None:
    given = distinct(6)
    first, again, other = (mixup(1.0, 6)(given, make_generator(0, "inputs", 1, step)) for step in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


def test_students_and_teachers_see_the_mixed_images(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    seen: list[Tensor] = []
    handle = work.network.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    teachers = fresh(work.network, 2)
    loss = Distillation(Teachers(work.network, teachers), temperature=2.0, weight=0.9)
    advance(work, State(fresh(work.network, 2)), 1, loss.objective(mixup(1.0, 10)))
    handle.remove()
    plain = [given.images.float() for given in batches(work, 2)]
    for k in range(2):
        wanted = mixup(1.0, 10)(
            Batch(plain[k], torch.zeros(20, dtype=torch.long)), make_generator(0, "inputs", k, 0)
        ).images
        student, teacher = seen[2 * k : 2 * k + 2]
        assert torch.equal(student, wanted)
        assert torch.equal(teacher, wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("constraint", "count"), [("simplex", 3), ("matching", 3), ("matching", 5)])
def test_gradient_of_students_under_a_constraint(
    constraint: str, count: int, mixed: bool, shared: bool, way: str, tmp_path: Path, cache: Path
) -> None:
    work, tau, weight, beta = task(tmp_path, cache), 3.0, 0.6, 0.7
    thetas, given = double(fresh(work.network, count)), batches(work, count)
    teachers = {name: tensor[2:] for name, tensor in double(fresh(work.network, count + 2)).items()}
    if mixed:
        given = [mixup(1.0, 10)(one, make_generator(k)) for k, one in enumerate(given)]
    draw = SAMPLERS[constraint](make_generator(5), count)  # of matchings of 3 and 5, a row is a mixture of three
    rows, sources = [*torch.eye(count, dtype=torch.float64), *draw.weights], [*range(count), *draw.source]
    mean = [1 / count] * count

    def total(net: nn.Module, theta: Stack) -> Tensor:
        parts = []
        for weights, origin in zip(rows, sources, strict=True):
            seen = given[origin]
            params = {name: torch.einsum("k,k...->...", weights, tensor) for name, tensor in theta.items()}
            logits = functional_call(net, params, (seen.images,))
            with torch.no_grad():
                outputs = [functional_call(net, t, (seen.images,)) for t in stack.iterate_networks(teachers)]
            taught = mean if shared else weights.tolist()
            target = sum(share * tempered(output, tau) for share, output in zip(taught, outputs, strict=True))
            labels = seen.labels if mixed else F.one_hot(seen.labels, 10).double()
            hard = -(labels * tempered(logits, 1.0).log()).sum(dim=1).mean()
            parts.append((1 - weight) * hard + weight * tau**2 * kl(target, logits / tau))  # type: ignore[arg-type]
        tied_loss = sum(share * part for share, part in zip(draw.shares, parts[count:], strict=True))
        return (torch.stack(parts[:count]).sum() + beta * count * tied_loss) / (1 + beta)

    expected = by_autograd(work, {}, thetas, total)
    loss = Distillation(Teachers(work.network, teachers), temperature=tau, weight=weight, shared=shared)
    objective = tie_members(loss.objective(), constraint=constraint, beta=beta)
    found = gradient(work, thetas, objective, given, seed=5, way=WAYS[way])
    torch.testing.assert_close(found, expected, rtol=1e-6 if shared else 1e-9, atol=1e-8 if shared else 1e-12)


@pytest.mark.parametrize(
    ("kind", "constraint"),
    [
        *((kind, "path") for kind in MODELS),
        ("batch", "star"),
        ("mlp", "matching"),
        ("batch", "simplex"),
        ("batch", "proximal"),
    ],
)
def test_students_without_teachers_are_constrained(kind: str, constraint: str, tmp_path: Path, cache: Path) -> None:
    settings = {"members": 3, "t": 0.2, "beta": 0.7, "constraint": constraint}
    work = task(tmp_path, cache, **MODELS[kind])
    branches = grown(work, Constrained(**settings)).vertices  # type: ignore[arg-type]
    free = Distilled(weight=0.0, **settings)  # type: ignore[arg-type]
    assert same(grown(task(tmp_path, cache, **MODELS[kind]), free).vertices, branches)
    mixed = Distilled(weight=0.0, inputs="mixup", **settings)  # type: ignore[arg-type]
    assert not same(grown(task(tmp_path, cache, **MODELS[kind]), mixed).vertices, branches)
