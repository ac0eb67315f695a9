"""The proximal pull: its size against closed forms, over the branch and across stops, and what it leaves alone."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from basin import stack, stages
from basin.constructions.constrained import Constrained
from basin.stack import Stack
from basin.task import Task
from basin.training.constraints import tie_members
from basin.training.flat_parameters import Flat
from basin.training.loop import LearningRate, State, train
from basin.training.objective import Meter, Objective
from basin.training.pull import Pull
from tests.support.tiny_trial import MODELS, copy, fresh, grown, same, task


def level(logits: Tensor, *rest: object) -> Tensor:
    """A loss without slope: only the pull moves the weights."""
    return 0 * logits.sum()


def apart(work: Task, thetas: Stack) -> Tensor:
    """The members' weights, less their mean."""
    flat = stack.flatten_weights(thetas, work.network.weights).double()
    return flat - flat.mean(dim=0)


def advance(
    work: Task, state: State, beta: float, *, since: int = 0, until: int | None = None, rate: LearningRate | None = None
) -> State:
    steps = work.stages.steps
    *_, last = train(
        work.network,
        work.data,
        state,
        tie_members(Objective(level), constraint="proximal", beta=beta),
        training=work.stages.training,
        seed=0,
        members=range(stack.count_networks(state.thetas)),
        until=steps if until is None else until,
        meter=Meter(),
        rate=rate,
        since=since,
    )
    return last


OPTIMIZERS = {
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
    "plain": {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1},
    "adamw": {"optimizer": "adamw", "momentum": 0.9, "lr": 1e-3},
}


@pytest.mark.parametrize("epochs", [1, 40])
@pytest.mark.parametrize(("schedule", "beta"), [("cosine", 0.3), ("cosine", 1.0), ("linear", 1.0), ("cosine", 10.0)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_spread_shrinks_by_e_to_the_beta(
    optimizer: str, schedule: str, beta: float, epochs: int, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache, epochs=epochs, schedule=schedule, weight_decay=0, **OPTIMIZERS[optimizer])
    start = fresh(work.network, 3)
    before, mean = apart(work, start), stack.flatten_weights(start, work.network.weights).mean(dim=0)
    end = advance(work, State(copy(start)), beta)
    after = apart(work, end.thetas)
    shrunk = float(after.norm() / before.norm())
    assert -math.log(shrunk) == pytest.approx(beta, rel=1e-3)
    # Every member goes straight to the mean, which stays where it is.
    torch.testing.assert_close(after, before * shrunk, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        stack.flatten_weights(end.thetas, work.network.weights).mean(dim=0), mean, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("restart", [False, True])
def test_the_pull_is_spread_over_the_branch(restart: bool, optimizer: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=200, weight_decay=0, **OPTIMIZERS[optimizer])
    start, since = fresh(work.network, 3), round(0.4 * work.stages.steps)
    state = State(copy(start), step=since)
    end = advance(work, state, 1.0, since=since, rate=work.restarted(0.4) if restart else None)
    ratio = float(apart(work, end.thetas).norm() / apart(work, start).norm())
    assert ratio == pytest.approx(math.exp(-1), rel=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_three_steps_are_the_formula(optimizer: str, tmp_path: Path, cache: Path) -> None:
    work, beta = task(tmp_path, cache, weight_decay=0, **OPTIMIZERS[optimizer]), 0.8
    settings, start = work.stages.training, fresh(work.network, 3)
    rates = [settings.lr_at(step, 15) for step in range(15)]
    theta = stack.flatten_weights(start, work.network.weights).numpy().astype(float)
    for step in range(3):
        mean = theta.mean(axis=0)
        theta = mean + np.exp(-beta * rates[step] / sum(rates)) * (theta - mean)
    found = stack.flatten_weights(advance(work, State(start), beta, until=3).thetas, work.network.weights)
    torch.testing.assert_close(found.double(), torch.from_numpy(theta), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_a_trial_that_goes_on_is_pulled_as_before(optimizer: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **OPTIMIZERS[optimizer])
    start = fresh(work.network, 3)
    whole = advance(work, State(copy(start), step=5), 2.0, since=5)
    first = advance(work, State(copy(start), step=5), 2.0, since=5, until=11)
    stages.save_state(first, tmp_path / "state")
    again = stages.load_state(tmp_path / "state")
    assert again is not None
    assert same(advance(work, again, 2.0, since=5).thetas, whole.thetas)


@pytest.mark.parametrize("restart", [False, True])
def test_branches_are_pulled_over_what_the_trunk_leaves(restart: bool, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    ensemble = grown(work, Constrained(members=2, t=0.4, beta=2.0, constraint="proximal", restart_schedule=restart))
    *_, by_itself = train(
        work.network,
        work.data,
        work.stages.state(0, 6).branch(2),
        Objective(pull=2.0),
        training=work.stages.training,
        seed=0,
        members=range(2),
        until=15,
        meter=Meter(),
        rate=work.restarted(0.4) if restart else None,
        since=6,
    )
    assert same(ensemble.vertices, by_itself.thetas)


def flat(work: Task, count: int = 3) -> Flat:
    return Flat(fresh(work.network, count), work.network.weights)


def test_no_step_goes_beyond_the_mean(tmp_path: Path, cache: Path) -> None:
    own = flat(task(tmp_path, cache))
    Pull.over([0.1, 0.1], beta=1000.0).act(own, 0.1)
    torch.testing.assert_close(own.weights, own.weights.mean(dim=0).expand_as(own.weights), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rates", [[], [0.0, 0.0]])
def test_an_empty_branch_and_a_rate_of_zero_pull_nothing(rates: list[float], tmp_path: Path, cache: Path) -> None:
    own = flat(task(tmp_path, cache))
    before = own.weights.clone()
    Pull.over(rates, beta=1.0).act(own, 0.0)
    Pull.over(rates, beta=1.0).act(own, 0.1)
    assert torch.equal(own.weights, before)
    assert not bool(own.grads.any())


def test_a_branch_without_steps_is_one_network(tmp_path: Path, cache: Path) -> None:
    ensemble = grown(task(tmp_path, cache), Constrained(members=3, t=1.0, constraint="proximal"))
    first, *others = stack.iterate_networks(ensemble.vertices)
    assert all(same(first, other) for other in others)


def test_batchnorm_s_buffers_are_not_pulled(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    buffers = [name for name in fresh(work.network, 1) if name not in work.network.weights]
    assert any("running_mean" in name for name in buffers)
    start = fresh(work.network, 3)
    for name in buffers:
        if start[name].is_floating_point():
            start[name] += torch.arange(3.0).view(-1, *[1] * (start[name].dim() - 1))
    # The first step's statistics are taken before any weight moves: they are what they are without a pull.
    free, tight = (advance(work, State(copy(start)), beta, until=1).thetas for beta in (0.0, 5.0))
    assert same({name: free[name] for name in buffers}, {name: tight[name] for name in buffers})
    assert float(apart(work, tight).norm()) < float(apart(work, free).norm())


def test_the_pull_adds_no_passes(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    grown(work, Constrained(members=3, t=0.2, beta=1.0, constraint="proximal"))
    assert work.meter.passes == 3 + 3 * 12
