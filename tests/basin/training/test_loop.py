"""The training loop against a plain one, and its gradient against the formula written out."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from basin import stack, stages
from basin.data import training_batch
from basin.errors import UsageError
from basin.seeds import make_generator
from basin.stack import Stack
from basin.task import Task
from basin.training.constraints import draw_path
from basin.training.distillation import Distillation, Teachers
from basin.training.loop import DivergedError, State, Training, train
from basin.training.objective import Draw, Meter, Objective, cross_entropy
from tests.support.tiny_trial import (
    MODELS,
    WAYS,
    advance,
    alone,
    batches,
    by_autograd,
    copy,
    double,
    fresh,
    gradient,
    mixed_by_hand,
    module,
    same,
    task,
)


@pytest.fixture
def work(tmp_path: Path, cache: Path) -> Task:
    return task(tmp_path, cache)


def plain_loop(work: Task, changes: dict[str, object], member: int, until: int) -> nn.Module:
    """SGD as torch's documentation shows it."""
    net = module(work, changes, work.network.init(work.stages.seed, "member", member))
    settings = work.stages.training
    optimizer = torch.optim.SGD(net.parameters(), lr=1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for step in range(until):
        images, labels = training_batch(work.data, seed=work.stages.seed, member=member, step=step, batch_size=20)
        optimizer.param_groups[0]["lr"] = settings.lr_at(step, 15)
        optimizer.zero_grad()
        F.cross_entropy(net.train()(images), labels).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("kind", MODELS)
def test_a_member_of_a_stack_takes_the_steps_of_a_plain_loop(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    start = stack.stack_networks([work.network.init(0, "member", k) for k in range(3)])
    end = advance(work, State(start), 12)
    for member in range(3):
        plain = dict(plain_loop(work, MODELS[kind], member, 12).state_dict())
        torch.testing.assert_close(stack.network_at(end.thetas, member), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_members_of_a_stack_train_as_if_alone(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    together = advance(work, State(stack.stack_networks([work.network.init(0, "member", k) for k in range(3)])), 15)
    for member in range(3):
        single = advance(work, alone(work, member), 15, members=[member])
        assert same(stack.network_at(together.thetas, member), stack.network_at(single.thetas, 0))
        for slot in together.slots:
            assert same(stack.network_at(together.slots[slot], member), stack.network_at(single.slots[slot], 0))


def test_a_pass_is_one_batch_through_one_network(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    advance(work, State(fresh(work.network, 3)), 4)
    assert work.meter == Meter(passes=12)
    advance(work, State(fresh(work.network, 3)), 4, Objective(beta=0.5, sampler=draw_path))
    assert work.meter == Meter(passes=12 + 16)
    advance(work, State(fresh(work.network, 3)), 4, Objective(pull=0.5))
    assert work.meter == Meter(passes=12 + 16 + 12)
    advance(work, State(fresh(work.network, 3)), 4, Objective(beta=0, sampler=draw_path))
    assert work.meter == Meter(passes=12 + 16 + 12 + 12)


def test_states_come_at_each_end_of_an_epoch_and_at_the_end(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    states = train(
        work.network,
        work.data,
        alone(work, 0),
        training=work.stages.training,
        seed=0,
        members=[0],
        until=12,
        meter=Meter(),
    )
    seen = [(state.step, state.loss) for state in states]
    assert [step for step, _ in seen] == [5, 10, 12]
    assert seen[0][1] > seen[1][1] > 0


def test_the_loss_is_the_mean_over_steps_and_members(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, lr=0)
    thetas = fresh(work.network, 2)
    losses = []
    for step in range(5):
        for k in range(2):
            images, labels = training_batch(work.data, seed=0, member=k, step=step, batch_size=20)
            losses.append(float(F.cross_entropy(work.network(stack.network_at(thetas, k), images), labels)))
    assert advance(work, State(thetas), 5).loss == pytest.approx(sum(losses) / 10, rel=1e-6)


# The gradient.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_gradient_of_the_path_constraint(kind: str, beta: float, way: str, tmp_path: Path, cache: Path) -> None:
    work, count = task(tmp_path, cache, **MODELS[kind]), 3
    thetas, given = double(fresh(work.network, count)), batches(work, count)
    rows = torch.tensor([[0.3, 0.0, 0.7], [0.9, 0.1, 0.0]], dtype=torch.float64)
    source = (2, 0)

    def total(net: nn.Module, theta: Stack) -> Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        for k in range(count):
            logits = functional_call(net, {name: tensor[k] for name, tensor in theta.items()}, (given[k].images,))
            loss = loss + F.cross_entropy(logits, given[k].labels) / count
        for s in range(2):
            seen = given[source[s]]
            logits = functional_call(net, mixed_by_hand(theta, rows[s]), (seen.images,))
            loss = loss + beta * F.cross_entropy(logits, seen.labels) / 2
        return count * loss / (1 + beta)

    expected = by_autograd(work, MODELS[kind], thetas, total)
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64)
    objective = Objective(cross_entropy, beta, sampler=lambda draws, members: Draw(rows, source, shares))
    found = gradient(work, thetas, objective, given, way=WAYS[way])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_training_step_follows_the_gradient_of_the_whole_loss(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, momentum=0, weight_decay=0, warmup=0, schedule="constant", lr=0.5)
    thetas, given = fresh(work.network, 3), batches(work, 3)
    (row,), (source,), _ = draw_path(make_generator(0, "constraint", 0), 3)

    def total(net: nn.Module, theta: Stack) -> Tensor:
        parts = [
            functional_call(net, {name: tensor[k] for name, tensor in theta.items()}, (given[k].images,))
            for k in range(3)
        ]
        losses = [F.cross_entropy(logits, seen.labels) for logits, seen in zip(parts, given, strict=True)]
        on_path = functional_call(net, mixed_by_hand(theta, row), (given[source].images,))
        return (torch.stack(losses).sum() + 3 * 2.0 * F.cross_entropy(on_path, given[source].labels)) / (1 + 2.0)

    gradient = by_autograd(work, {}, double(thetas), total)
    expected = {name: thetas[name].double() - 0.5 * gradient[name] for name in gradient}
    end = advance(work, State(copy(thetas)), 1, Objective(beta=2.0, sampler=draw_path))
    torch.testing.assert_close(end.thetas, {n: t.float() for n, t in expected.items()}, rtol=1e-5, atol=1e-6)


def test_a_mixed_network_leaves_the_members_statistics_alone(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, lr=0, **MODELS["batch"])
    thetas = fresh(work.network, 2)
    free = advance(work, State(copy(thetas)), 3)
    tied = advance(work, State(copy(thetas)), 3, Objective(beta=1.0, sampler=draw_path))
    assert same(free.thetas, tied.thetas)


# Going on after an interruption.

OBJECTIVES = {
    "free": lambda work: Objective(),
    "path": lambda work: Objective(beta=0.5, sampler=draw_path),
    "proximal": lambda work: Objective(pull=0.5),
    "distilled": lambda work: Objective(
        Distillation(Teachers(work.network, fresh(work.network, 2)), temperature=2.0, weight=0.9),
        beta=0.5,
        sampler=draw_path,
    ),
}


@pytest.mark.parametrize("kind", ["mlp", "batch"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_going_on_at_any_step_is_exact(objective: str, kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=2, **MODELS[kind])
    make = OBJECTIVES[objective]
    start = fresh(work.network, 2)
    whole = advance(work, State(copy(start)), 10, make(work))
    for stop in range(1, 10) if kind == "mlp" else (4, 5):
        file = tmp_path / f"{stop}.safetensors"
        stages.save_state(advance(work, State(copy(start)), stop, make(work)), file)
        again = stages.load_state(file)
        assert again is not None
        assert again.step == stop
        resumed = advance(work, again, 10, make(work))
        assert same(resumed.thetas, whole.thetas)
        assert len(whole.slots) == 1
        assert resumed.slots.keys() == whole.slots.keys()
        assert all(same(resumed.slots[slot], whole.slots[slot]) for slot in whole.slots)


def test_branches_start_from_weights_and_momentum_of_the_trunk(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    trunk = advance(work, alone(work, 0), 7, members=[0])
    branches = trunk.branch(3)
    assert branches.step == 7
    for k in range(3):
        assert same(stack.network_at(branches.thetas, k), stack.network_at(trunk.thetas, 0))
        for slot, tensors in trunk.slots.items():
            assert same(stack.network_at(branches.slots[slot], k), stack.network_at(tensors, 0))
    assert len(trunk.slots) == 1
    branches.thetas["1.0.weight"].zero_()
    assert float(trunk.thetas["1.0.weight"].abs().sum()) > 0


# Learning rate, budget, divergence.


def test_learning_rate_of_the_cosine() -> None:
    training = Training(lr=0.2, warmup=0.1, schedule="cosine")
    rates = [training.lr_at(step, 100) for step in range(100)]
    assert rates[:3] == pytest.approx([0.2 / 11, 0.4 / 11, 0.6 / 11])
    assert rates[9] == pytest.approx(0.2 * 10 / 11)
    assert rates[10] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(0.1)
    assert rates[99] == pytest.approx(0.1 * (1 + math.cos(math.pi * 89 / 90)))
    assert max(rates) == rates[10]


def test_learning_rate_of_the_line_and_the_constant() -> None:
    line = Training(lr=0.2, warmup=0, schedule="linear")
    assert [line.lr_at(step, 4) for step in range(4)] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    constant = Training(lr=0.2, warmup=0, schedule="constant")
    assert {constant.lr_at(step, 4) for step in range(4)} == {0.2}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_learning_rate_is_positive_and_below_its_peak(schedule: str, warmup: float, steps: int) -> None:
    training = Training(lr=0.2, warmup=warmup, schedule=schedule)
    assert all(0 < training.lr_at(step, steps) <= 0.2 for step in range(steps))


@pytest.mark.parametrize(("images", "steps"), [(100, 15), (119, 15), (120, 18), (7, 3)])
def test_steps_are_whole_batches(images: int, steps: int) -> None:
    assert Training(epochs=3, batch_size=20).steps(images) == steps


def test_divergence_is_an_error(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, lr=1e9)
    with pytest.raises(DivergedError, match=r"training loss is (nan|inf) at step \d+"):
        advance(work, State(fresh(work.network, 2)), 15)


def test_the_last_step_counts_too(tmp_path: Path, cache: Path) -> None:
    """The loss of a step is taken before its weights change: after the last one nothing is left to show it."""
    work = task(tmp_path, cache, lr=1e38, weight_decay=1e4, warmup=0)
    with pytest.raises(DivergedError, match="weights are not finite after step 1"):
        advance(work, State(fresh(work.network, 2)), 1)


def test_adamw_needs_momentum_below_one() -> None:
    with pytest.raises(UsageError, match="momentum=1: expected less than 1 for optimizer=adamw"):
        Training(optimizer="adamw", momentum=1)
    assert Training(optimizer="sgd", momentum=1).momentum == 1


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_numbers_that_weights_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}=1e\+300: expected at most 3.4"):
        Training(**{name: 1e300})
    assert Training(**{name: 1e38})


def test_a_batch_too_small_for_batchnorm_is_refused(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, model="torchvision:resnet18", batch_size=1, train_size=2)
    with pytest.raises(UsageError, match="batch_size=1: BatchNorm gets one value a channel"):
        advance(work, State(fresh(work.network, 1)), 1)


# The sampler of paths.


def test_paths_are_drawn_uniformly() -> None:
    draws = make_generator(0, "test")
    pairs: dict[tuple[int, ...], int] = {}
    alphas, ends = [], 0
    for _ in range(6000):
        (row,), (source,), _ = draw_path(draws, 4)
        pair = tuple(row.nonzero().flatten().tolist())
        assert len(pair) == 2
        assert source in pair
        assert float(row.sum()) == pytest.approx(1)
        assert bool((row >= 0).all())
        pairs[pair] = pairs.get(pair, 0) + 1
        alphas.append(float(row[pair[1]]))
        ends += source == pair[1]
    # χ² of 6 pairs, 5 degrees of freedom: above 20.5 once in a thousand.
    assert sum((count - 1000) ** 2 / 1000 for count in pairs.values()) < 20.5
    assert len(pairs) == 6
    # Kolmogorov–Smirnov: above 1.95/√n once in a thousand.
    ordered = torch.tensor(sorted(alphas))
    assert float((ordered - torch.linspace(0, 1, 6000)).abs().max()) < 1.95 / math.sqrt(6000)
    assert abs(ends - 3000) < 3.3 * math.sqrt(6000) / 2


def test_paths_are_a_function_of_the_seed() -> None:
    first, again, other = (draw_path(make_generator(0, "constraint", step), 5) for step in (3, 3, 4))
    assert torch.equal(first.weights, again.weights)
    assert first.source == again.source
    assert not torch.equal(first.weights, other.weights)


def test_a_state_is_saved_with_its_notes(tmp_path: Path, work: Task) -> None:
    state = advance(work, State(fresh(work.network, 2)), 5)
    stages.save_state(state, tmp_path / "state", meter=json.dumps({"passes": 3}))
    again = stages.load_state(tmp_path / "state")
    assert again is not None
    assert (again.step, again.loss) == (state.step, state.loss)
    assert same(again.thetas, state.thetas)
    assert json.loads(stages.read_notes(tmp_path / "state")["meter"]) == {"passes": 3}
