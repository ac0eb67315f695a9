"""AdamW against torch's class in a plain loop, and its exact resume; SGD's are in the tests of training."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from basin import stack, stages
from basin.constructions.constrained import Constrained
from basin.data import training_batch
from basin.task import Task
from basin.training.constraints import draw_path
from basin.training.loop import State
from basin.training.objective import Objective
from tests.support.tiny_trial import MODELS, advance, alone, copy, fresh, grown, module, same, task

ADAMW: dict[str, object] = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1}


def plain_loop(work: Task, changes: dict[str, object], member: int, momentum: float) -> nn.Module:
    """AdamW as torch's documentation shows it."""
    net = module(work, changes, work.network.init(0, "member", member))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1, betas=(momentum, 0.999), weight_decay=0.1)
    for step in range(15):
        images, labels = training_batch(work.data, seed=0, member=member, step=step, batch_size=20)
        optimizer.param_groups[0]["lr"] = work.stages.training.lr_at(step, 15)
        optimizer.zero_grad()
        F.cross_entropy(net.train()(images), labels).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("momentum", [0.9, 0.5])
@pytest.mark.parametrize("kind", ["mlp", "batch", "vit"])
def test_a_member_takes_the_steps_of_torch_s_adamw(kind: str, momentum: float, tmp_path: Path, cache: Path) -> None:
    changes = MODELS[kind] | ADAMW
    work = task(tmp_path, cache, momentum=momentum, **changes)
    end = advance(work, State(stack.join_stacks([alone(work, k).thetas for k in range(2)])), 15)
    for member in range(2):
        plain = dict(plain_loop(work, changes, member, momentum).state_dict())
        torch.testing.assert_close(stack.network_at(end.thetas, member), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "batch"])
def test_going_on_at_any_step_is_exact(kind: str, tmp_path: Path, cache: Path) -> None:
    work, tied = task(tmp_path, cache, **MODELS[kind] | ADAMW), Objective(beta=0.5, sampler=draw_path)
    start = fresh(work.network, 2)
    whole = advance(work, State(copy(start)), 10, tied)
    assert len(whole.slots) == 2
    for stop in (1, 4, 5, 9):
        file = tmp_path / f"{stop}.safetensors"
        stages.save_state(advance(work, State(copy(start)), stop, tied), file)
        again = stages.load_state(file)
        assert again is not None
        resumed = advance(work, again, 10, tied)
        assert same(resumed.thetas, whole.thetas)
        assert resumed.slots.keys() == whole.slots.keys()
        assert all(same(resumed.slots[slot], whole.slots[slot]) for slot in whole.slots)


def test_branches_go_on_with_both_moments_of_the_trunk(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **ADAMW)
    branches = grown(work, Constrained(members=2, t=0.4, beta=0.0)).vertices
    assert same(stack.network_at(branches, 0), stack.network_at(work.stages.state(0).thetas, 0))


def test_weight_decay_is_decoupled_from_the_gradient(tmp_path: Path, cache: Path) -> None:
    # Without a gradient to speak of, weights shrink by 1 − lr·decay a step and by nothing else.
    work = task(tmp_path, cache, warmup=0.0, schedule="constant", **ADAMW)
    state = alone(work, 0)
    before = copy(state.thetas)
    nothing = Objective(loss=lambda logits, given, row, answers: 0 * logits.sum())
    after = advance(work, state, 3, nothing).thetas
    for name in before:
        torch.testing.assert_close(after[name], before[name] * (1 - 0.01 * 0.1) ** 3, rtol=1e-6, atol=0)
