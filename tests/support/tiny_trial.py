"""Trials that take a fraction of a second, and what the tests say about stacks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from basin import stack
from basin.constructions.deep import Deep
from basin.data import DataSplit, training_batch
from basin.data.digits import Digits
from basin.environment import Machine, Place
from basin.journal import Progress
from basin.measure import Evaluation
from basin.models.mlp import MLP
from basin.seeds import make_generator
from basin.stack import Params, Stack
from basin.stages import Stages
from basin.task import Task
from basin.training.cuda_graphs import GraphGradients
from basin.training.execution_mode import Way
from basin.training.flat_parameters import Flat
from basin.training.gradients import EagerGradients, Gradients, GradientSum
from basin.training.loop import State, Training, train
from basin.training.network import Network
from basin.training.objective import Batch, Meter, Objective
from basin.trial import Trial, open_task, overlay, run

FREE = Objective()
CPU = Machine(device="cpu")
MODELS: dict[str, dict[str, object]] = {
    "mlp": {"model": "mlp", "hidden": 8},
    "batch": {"model": "resnet8", "width": 0.25},
    "layer": {"model": "resnet8", "width": 0.25, "norm": "layer"},
    "group": {"model": "resnet8", "width": 0.5, "norm": "group"},
    "vit": {"model": "vit", "patch": 4, "dim": 8, "blocks": 1, "heads": 2, "mlp_ratio": 1.0},
}


def trial(**changes: object) -> Trial:
    """Digits, 100 images, 3 epochs of 5 steps, an MLP of 8 hidden units."""
    base = Trial(
        dataset=Digits(),
        split=DataSplit(train_size=100, val_size=60, test_size=60),
        model=MLP(hidden=8),
        training=Training(epochs=3, batch_size=20),
        construction=Deep(members=2),
        evaluation=Evaluation(alphas=3, progress_every=1),
    )
    return overlay(base, changes)


def place(folder: Path, cache: Path, scratch: Path | None = None, machine: Machine = CPU) -> Place:
    """A CPU, stages in `folder`."""
    return Place(machine=machine, cache=cache, runs=folder, scratch=scratch)


class StoppedError(Exception):
    """Raised by `run_until` from the callback of a trial."""


def run_until(trial: Trial, place: Place, reports: int, look: Callable[[int], None] | None = None) -> list[Progress]:
    """Run a trial until its last report of so many and stop it there; `look` is called with each report's number."""
    history: list[Progress] = []

    def stop(progress: Progress) -> None:
        history.append(progress)
        if look:
            look(len(history))
        if len(history) == reports:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(trial, place, stop)
    return history


def task(folder: Path, cache: Path, machine: Machine = CPU, **changes: object) -> Task:
    """What a construction of such a trial is given."""
    return open_task(trial(**changes), place(folder, cache, machine=machine))


def trained(runs: Stages, member: int = 0) -> Params:
    """A single network at the end of its run."""
    return stack.network_at(runs.state(member).thetas, 0)


def fresh(network: Network, count: int) -> Stack:
    """`count` untrained networks."""
    return stack.stack_networks([network.init("test", k) for k in range(count)])


def module(task: Task, changes: dict[str, object], params: Params) -> nn.Module:
    """A plain module with these weights."""
    plain = trial(**changes).model.build(task.data.shape, task.data.classes)
    plain.load_state_dict(params)
    return plain


def same(first: Stack, second: Stack) -> bool:
    """Whether two stacks, or networks, are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def copy(tensors: Stack) -> Stack:
    """A stack, or network, that training does not change."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def grown(task: Task, construction: Any) -> Any:
    """The finished ensemble."""
    *_, ensemble = construction.grow(task)
    return ensemble


def spent(meter: Meter) -> tuple[int, int, int]:
    """A meter's three counts."""
    return meter.passes, meter.teacher_passes, meter.teacher_forwards


def advance(
    work: Task, state: State, until: int, objective: Objective = FREE, members: Sequence[int] | None = None
) -> State:
    """The state after training to `until`."""
    *_, last = train(
        work.network,
        work.data,
        state,
        objective,
        training=work.stages.training,
        seed=work.stages.seed,
        members=range(stack.count_networks(state.thetas)) if members is None else members,
        until=until,
        meter=work.meter,
    )
    return last


def alone(work: Task, member: int) -> State:
    """One network before its first step."""
    return State(stack.stack_networks([work.network.init(work.stages.seed, "member", member)]))


def double(thetas: Stack) -> Stack:
    """In float64, counters apart."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor.clone() for name, tensor in thetas.items()}


def batches(work: Task, count: int) -> list[Batch]:
    """The members' first batches, in float64."""
    found = [training_batch(work.data, seed=0, member=k, step=0, batch_size=20) for k in range(count)]
    return [Batch(images.double(), labels) for images, labels in found]


def mixed_by_hand(theta: Stack, weights: Tensor) -> Params:
    """The mixed network as a sum; counters are the first network's."""
    return {
        name: sum((weights[k] * tensor[k] for k in range(len(weights))), torch.zeros_like(tensor[0]))
        if tensor.is_floating_point()
        else tensor[0].clone()
        for name, tensor in theta.items()
    }


def by_autograd(
    work: Task, changes: dict[str, object], thetas: Stack, total: Callable[[nn.Module, Stack], Tensor]
) -> dict[str, Tensor | None]:
    """Gradient of `total`, of the stack as one leaf, in float64."""
    net = trial(**changes).model.build(work.data.shape, work.data.classes).double().train()
    leaves = {name: tensor.clone() for name, tensor in thetas.items()}
    for name in work.network.weights:
        leaves[name].requires_grad_()
    total(net, leaves).backward()
    return {name: leaves[name].grad for name in work.network.weights}


WAYS = {
    "loop": Way(),
    "threads": Way("threads", 2),
    "stacked": Way("stacked", 1, 8),
    "halves": Way("stacked", 1, 2),
    "graphs": Way("graphs", 1, 2),
}
"""Every way to run the networks of a stack."""


def gradients_of(total: GradientSum) -> Gradients:
    """The gradients in the execution mode of their way."""
    return GraphGradients(total) if total.way.name == "graphs" else EagerGradients(total)


def gradient(
    work: Task, thetas: Stack, objective: Objective, given: list[Batch], *, seed: int = 0, way: Way = WAYS["loop"]
) -> Stack:
    """What one step accumulates; `thetas` are left as they are."""
    flat = Flat(copy(thetas), work.network.weights)
    draw = objective.sampler(make_generator(seed), len(given)) if objective.beta and objective.sampler else None
    gradients_of(GradientSum(work.network, flat, objective, Meter(), way)).step(given, draw)
    return flat.views(flat.grads)
