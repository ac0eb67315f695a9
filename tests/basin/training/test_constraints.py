"""What ties branches: the distributions of the samplers, the penalties' gradients, and what is free of all of them."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from basin import stack
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.constructions.distilled import Distilled
from basin.errors import UsageError
from basin.seeds import make_generator
from basin.stack import Stack
from basin.training.constraints import SAMPLERS, draw_simplex, draw_star, mean_squared_cosine, repeat_draws, tie_members
from basin.training.loop import train
from basin.training.objective import Meter
from tests.support.tiny_trial import (
    FREE,
    MODELS,
    advance,
    alone,
    batches,
    by_autograd,
    copy,
    double,
    fresh,
    gradient,
    grown,
    same,
    task,
)

DRAWS = 6000
CONSTRAINTS = ("path", "matching", "star", "simplex", "proximal")


def drawn(sampler: object, count: int) -> tuple[Tensor, Tensor]:
    """Rows of the mixing matrix and whose batch each saw."""
    draws = make_generator(0, "test")
    found = [sampler(draws, count) for _ in range(DRAWS)]  # type: ignore[operator]
    rows = torch.cat([draw.weights for draw in found])
    assert rows.shape == (DRAWS, count)
    assert bool((rows >= 0).all())
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(DRAWS, dtype=torch.float64))
    return rows, torch.tensor([draw.source[0] for draw in found])


def distance(values: Tensor, cumulative: Tensor) -> float:
    """Kolmogorov–Smirnov, √n times: above 1.95 once in a thousand. `cumulative` is of the sorted values."""
    return float((cumulative - torch.linspace(0, 1, len(values), dtype=torch.float64)).abs().max()) * len(values) ** 0.5


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_simplex_is_uniform(count: int) -> None:
    rows, source = drawn(draw_simplex, count)
    variance = (count - 1) / (count**2 * (count + 1))
    torch.testing.assert_close(
        rows.mean(dim=0), torch.full((count,), 1 / count).double(), rtol=0, atol=4 * math.sqrt(variance / DRAWS)
    )
    between = torch.full((count, count), -variance / (count - 1)).double()
    between.fill_diagonal_(variance)
    torch.testing.assert_close(rows.T.cov(), between, rtol=0, atol=0.07 * variance)
    for k in range(count):
        # Each weight alone is Beta(1, K − 1).
        values = rows[:, k].sort().values
        assert distance(values, 1 - (1 - values) ** (count - 1)) < 1.95
    # χ² of K − 1 ≤ 4 degrees of freedom: above 18.5 once in a thousand.
    seen = source.bincount(minlength=count).double()
    assert len(seen) == count
    assert float(((seen - DRAWS / count) ** 2 / (DRAWS / count)).sum()) < 18.5


def test_the_star_goes_from_member_0_to_any_other() -> None:
    rows, source = drawn(draw_star, 4)
    others = rows[:, 1:]
    assert bool(((others > 0).sum(dim=1) == 1).all())
    assert bool((rows[:, 0] > 0).all())
    ends = others.argmax(dim=1)
    seen = ends.bincount(minlength=3).double()
    assert float(((seen - DRAWS / 3) ** 2 / (DRAWS / 3)).sum()) < 13.8  # 2 degrees of freedom
    alphas = others.sum(dim=1).sort().values
    assert distance(alphas, alphas) < 1.95
    at_other = source == ends + 1
    assert bool((at_other | (source == 0)).all())
    assert abs(int(at_other.sum()) - DRAWS / 2) < 3.3 * math.sqrt(DRAWS) / 2


def test_the_star_of_two_is_their_segment() -> None:
    rows, source = drawn(draw_star, 2)
    assert bool((rows > 0).all())
    assert set(source.tolist()) == {0, 1}


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_are_a_function_of_the_generator(name: str) -> None:
    first, again, other = (SAMPLERS[name](make_generator(0, "constraint", step), 5) for step in (3, 3, 4))
    assert torch.equal(first.weights, again.weights)
    assert first.source == again.source
    assert not torch.equal(first.weights, other.weights)


@pytest.mark.parametrize("name", SAMPLERS)
def test_several_draws_are_drawn_one_after_another(name: str) -> None:
    draws = make_generator(3)
    one_by_one = [SAMPLERS[name](draws, 4) for _ in range(3)]
    found = repeat_draws(SAMPLERS[name], 3)(make_generator(3), 4)
    assert torch.equal(found.weights, torch.cat([one.weights for one in one_by_one]))
    assert found.source == tuple(source for one in one_by_one for source in one.source)
    torch.testing.assert_close(found.shares, torch.cat([one.shares for one in one_by_one]) / 3)
    assert len({tuple(row) for row in found.weights.tolist()}) == 3 * len(one_by_one[0].weights)


# Penalties.


def cosines(weights: Stack) -> Tensor:
    """Mean over pairs of (θ_i·θ_j)² / (‖θ_i‖² ‖θ_j‖²), written out."""
    count = len(next(iter(weights.values())))
    found = []
    for i in range(count):
        for j in range(i):
            products = [sum((w[a] * w[b]).sum() for w in weights.values()) for a, b in ((i, j), (i, i), (j, j))]
            found.append(products[0] ** 2 / (products[1] * products[2]))
    return torch.stack(found).mean()  # type: ignore[arg-type]


def test_orthogonality_of_known_angles() -> None:
    # cos² of 90°, 45°, 45°; the two tensors of a network are one vector.
    weights = {"a": torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]), "b": torch.tensor([[0.0], [3.0], [-2.0]])}
    assert float(mean_squared_cosine(weights)) == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert float(mean_squared_cosine({"a": torch.ones(3, 4)})) == pytest.approx(1)


def test_orthogonality_is_the_formula(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    weights = {name: t for name, t in double(fresh(work.network, 4)).items() if name in work.network.weights}
    torch.testing.assert_close(mean_squared_cosine(weights), cosines(weights), rtol=1e-12, atol=0)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("kind", ["mlp", "batch"])
def test_gradient_of_a_tied_objective(kind: str, constraint: str, draws: int, tmp_path: Path, cache: Path) -> None:
    work, count, beta, apart = task(tmp_path, cache, **MODELS[kind]), 3, 0.7, 0.4
    thetas, given = double(fresh(work.network, count)), batches(work, count)
    thetas["head.weight" if kind == "batch" else "1.0.weight"] += 0.5

    def total(net: nn.Module, theta: Stack) -> Tensor:
        networks = [{name: tensor[k] for name, tensor in theta.items()} for k in range(count)]

        def loss(params: dict[str, Tensor], source: int) -> Tensor:
            return F.cross_entropy(functional_call(net, params, (given[source].images,)), given[source].labels)

        free = torch.stack([loss(params, k) for k, params in enumerate(networks)]).mean()
        mixture, order = torch.zeros(()).double(), make_generator(7)
        for _ in range(draws if constraint != "proximal" else 0):  # whose pull is no part of the gradient
            for row, source in zip(*SAMPLERS[constraint](order, count)[:2], strict=True):  # three are one triple
                mixed = {
                    name: torch.einsum("k,k...->...", row, tensor) if tensor.is_floating_point() else tensor[0]
                    for name, tensor in theta.items()
                }
                mixture = mixture + loss(mixed, source) / draws
        return count * (free + beta * mixture)

    def pushed(net: nn.Module, theta: Stack) -> Tensor:
        return count * apart * cosines({name: theta[name] for name in work.network.weights})

    means = {"star": [3 / 2, 3 / 4, 3 / 4], "proximal": [0.0] * 3}.get(constraint, [1.0] * 3)
    divisors = torch.tensor([1 + beta * mean for mean in means], dtype=torch.float64)
    tying, pushing = (by_autograd(work, MODELS[kind], thetas, part) for part in (total, pushed))
    expected = {name: torch.einsum("k...,k->k...", tying[name], 1 / divisors) + pushing[name] for name in tying}
    objective = tie_members(FREE, constraint=constraint, beta=beta, draws=draws, orthogonal=apart)
    found = gradient(work, thetas, objective, given, seed=7)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_orthogonality_pushes_apart_and_beta_pulls_together(tmp_path: Path, cache: Path) -> None:
    def ends(**fields: object) -> Stack:
        construction = Constrained(members=3, t=0.1, constraint="proximal", **fields)  # type: ignore[arg-type]
        thetas = grown(task(tmp_path, cache, lr=0.05), construction).vertices
        return {name: tensor for name, tensor in thetas.items() if name.endswith(("weight", "bias"))}

    def spread(weights: Stack) -> float:
        return math.sqrt(sum(float((w - w.mean(dim=0)).square().sum()) for w in weights.values()))

    free, tight, apart = ends(beta=0.0), ends(beta=3.0), ends(beta=0.0, orthogonality=3.0)
    assert 1 - float(cosines(apart)) > 3 * (1 - float(cosines(free)))
    assert spread(tight) < 0.7 * spread(free)


# What a constraint of strength 0 leaves, and what members start from.


@pytest.mark.parametrize(
    ("kind", "constraint"), [*((kind, "path") for kind in MODELS), *(("batch", name) for name in CONSTRAINTS[1:])]
)
def test_branches_without_strength_are_independent(kind: str, constraint: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    branches = grown(work, Constrained(members=3, t=0.4, beta=0.0, constraint=constraint)).vertices  # type: ignore[arg-type]
    for k in range(3):
        trunk = work.stages.state(0, 6)
        assert same(stack.network_at(branches, k), stack.network_at(advance(work, trunk, 15, members=[k]).thetas, 0)), k


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_subspace_training_without_strength_is_the_deep_ensemble(optimizer: str, tmp_path: Path, cache: Path) -> None:
    changes = {"optimizer": optimizer, "lr": 0.01}
    free = Constrained(members=3, t=0.0, beta=0.0, share_init=False)
    assert free.needs(15) == {0: 0}
    work = task(tmp_path / "free", cache, **changes)
    members = grown(work, free).vertices
    assert same(members, grown(task(tmp_path / "deep", cache, **changes), Deep(members=3)).vertices)
    assert work.meter.passes == 3 * 15


def test_subspace_training_starts_from_the_deep_ensemble_s_initial_weights(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, lr=0.0)
    members = grown(work, Constrained(members=3, t=0.0, beta=1.0, share_init=False)).vertices
    for k in range(3):
        assert same(stack.network_at(members, k), stack.network_at(alone(work, k).thetas, 0))
    shared = grown(task(tmp_path, cache, lr=0.0), Constrained(members=3, t=0.0)).vertices
    assert all(same(network, stack.network_at(members, 0)) for network in stack.iterate_networks(shared))


def test_a_trunk_that_is_not_shared_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"share_init=false with t=0\.1: .* need t=0"):
        Constrained(share_init=False)


@pytest.mark.parametrize("construction", [Constrained, Distilled])
def test_edges_are_the_pairs_that_are_tied(construction: type, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=1)
    edges = {name: grown(work, construction(members=4, t=0.5, constraint=name)).edges for name in CONSTRAINTS}
    assert edges["star"] == ((0, 1), (0, 2), (0, 3))
    every = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert [edges[name] for name in CONSTRAINTS if name != "star"] == [every] * 4


# The learning rate of branches.


def test_a_restarted_schedule_is_the_whole_schedule_in_what_is_left(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, lr=0.2, warmup=0.2)
    rate = work.restarted(0.35)  # round(5.25) = 5 steps of 15 are spent: 2 of the 10 left are the warm-up
    rise = [0.2 / 3, 0.4 / 3]
    fall = [0.1 * (1 + math.cos(math.pi * n / 8)) for n in range(8)]
    assert [rate(step) for step in range(5, 15)] == pytest.approx(rise + fall)


def test_branches_follow_the_restarted_schedule(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, warmup=0.0, schedule="linear")
    construction = Constrained(members=2, t=1 / 3, beta=0.0, restart_schedule=True)
    restarted = grown(work, construction).vertices
    *_, by_hand = train(
        work.network,
        work.data,
        work.stages.state(0, 5),
        training=work.stages.training,
        seed=0,
        members=[1],
        until=15,
        meter=Meter(),
        rate=lambda step: 0.1 * (15 - step) / 10,
    )
    torch.testing.assert_close(
        stack.network_at(restarted, 1), stack.network_at(by_hand.thetas, 0), rtol=1e-6, atol=1e-7
    )
    continued = grown(task(tmp_path, cache, warmup=0.0, schedule="linear"), Constrained(members=2, t=1 / 3, beta=0.0))
    assert not torch.allclose(continued.vertices["1.0.weight"], restarted["1.0.weight"], atol=1e-4)


def test_a_trunk_is_not_restarted(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    before = copy(stack.network_at(work.stages.state(0, 6).thetas, 0))
    seen = grown(work, Constrained(members=2, t=0.4, restart_schedule=True))
    assert not same(stack.network_at(seen.vertices, 0), before)
    assert same(stack.network_at(task(tmp_path / "new", cache).stages.state(0, 6).thetas, 0), before)
