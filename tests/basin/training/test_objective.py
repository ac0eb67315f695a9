"""The normalised objective: every member's gradient against loops written out, and the coefficients it stands on."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from basin import stack
from basin.constructions.constrained import Constrained
from basin.seeds import make_generator
from basin.stack import Stack
from basin.training import constraints
from basin.training.constraints import (
    COEFFICIENTS,
    SAMPLERS,
    draw_matching,
    mixed_networks,
    star_coefficients,
    tie_members,
)
from basin.training.objective import Batch, Draw, Sampler, equal_coefficients
from tests.support.tiny_trial import FREE, MODELS, WAYS, batches, by_autograd, double, fresh, gradient, grown, task

DRAWS = 8_000


def coefficients(sampler: Sampler, count: int) -> Tensor:
    """c_k = K Σ_s u_s W_sk of many draws, by loops."""
    draws, found = make_generator(1), []
    for _ in range(DRAWS):
        weights, _, shares = sampler(draws, count)
        rows = zip(weights.tolist(), shares.tolist(), strict=True)
        sums = [0.0] * count
        for row, share in rows:
            for k in range(count):
                sums[k] += count * share * row[k]
        found.append(sums)
    return torch.tensor(found, dtype=torch.float64)


def by_hand(
    net: nn.Module, theta: Stack, given: list[Batch], draw: Draw, beta: float, means: list[float]
) -> list[dict[str, Tensor]]:
    """Member k's gradient of (Σ_j ℓ(θ_j) + β K Σ_s u_s ℓ(Σ_j W_sj θ_j)) / (1 + β E[c_k]), networks one by one."""
    count = len(given)
    members = [{name: tensor[k].clone() for name, tensor in theta.items()} for k in range(count)]
    names = [name for name, _ in net.named_parameters()]
    for member in members:
        for name in names:
            member[name].requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for k in range(count):
        total = total + F.cross_entropy(functional_call(net, members[k], (given[k].images,)), given[k].labels)
    for s in range(len(draw.source)):
        mixed: dict[str, Tensor] = {}
        for name in members[0]:
            mixed[name] = members[0][name] * draw.weights[s, 0]
            for k in range(1, count):
                mixed[name] = mixed[name] + members[k][name] * draw.weights[s, k]
        seen = given[draw.source[s]]
        loss = F.cross_entropy(functional_call(net, mixed, (seen.images,)), seen.labels)
        total = total + beta * count * draw.shares[s] * loss
    total.backward()
    return [{name: member[name].grad / (1 + beta * means[k]) for name in names} for k, member in enumerate(members)]


@pytest.mark.parametrize("way", ["loop", "threads", "stacked", "halves", "graphs"])
@pytest.mark.parametrize("beta", [0.3, 10.0])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("constraint", SAMPLERS)
def test_every_member_s_gradient_is_the_formula(
    constraint: str, count: int, beta: float, way: str, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache)
    thetas, given = double(fresh(work.network, count)), batches(work, count)
    means = [count / 2, *[count / (2 * (count - 1))] * (count - 1)] if constraint == "star" else [1.0] * count
    net = work.network.fresh_module("test", 0).double().train()
    expected = by_hand(net, thetas, given, SAMPLERS[constraint](make_generator(3), count), beta, means)
    found = gradient(work, thetas, tie_members(FREE, constraint=constraint, beta=beta), given, seed=3, way=WAYS[way])
    for k in range(count):
        torch.testing.assert_close(stack.network_at(found, k), expected[k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("draws", [2, 3])
def test_draws_of_a_matching_are_averaged(draws: int, tmp_path: Path, cache: Path) -> None:
    work, count = task(tmp_path, cache), 5
    thetas, given, order = double(fresh(work.network, count)), batches(work, count), make_generator(3)
    each = [draw_matching(order, count) for _ in range(draws)]
    net = work.network.fresh_module("test", 0).double().train()
    parts = [by_hand(net, thetas, given, draw, 0.7, [1.0] * count) for draw in each]
    found = gradient(work, thetas, tie_members(FREE, constraint="matching", beta=0.7, draws=draws), given, seed=3)
    for k in range(count):
        mean = {name: sum(part[k][name] for part in parts) / draws for name in parts[0][k]}
        torch.testing.assert_close(stack.network_at(found, k), mean, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_s_length_does_not_grow_with_strength(kind: str, tmp_path: Path, cache: Path) -> None:
    """Members that are one network, on one batch: all losses are one loss, and the mean step is the plain one."""
    work, count = task(tmp_path, cache, **MODELS[kind]), 4
    one = double(fresh(work.network, 1))
    thetas = {name: tensor.expand(count, *tensor.shape[1:]).clone() for name, tensor in one.items()}
    given = [batches(work, 1)[0]] * count

    def total(net: nn.Module, theta: Stack) -> Tensor:
        params = {name: tensor[0] for name, tensor in theta.items()}
        return F.cross_entropy(functional_call(net, params, (given[0].images,)), given[0].labels)

    plain = by_autograd(work, MODELS[kind], one, total)
    for constraint in SAMPLERS:
        objective = tie_members(FREE, constraint=constraint, beta=30.0)
        # The mixture's gradient is linear in the row: with the mean row, of equal members, the step is the mean step.
        row = objective.coefficients(count)[None] / count
        known = replace(objective, sampler=lambda draws, k, row=row: Draw(row, (0,), torch.ones(1).double()))
        found = gradient(work, thetas, known, given)
        for k in range(count):
            first = {name: tensor[0] for name, tensor in plain.items() if tensor is not None}
            torch.testing.assert_close(stack.network_at(found, k), first, rtol=1e-9, atol=1e-12)


# Coefficients. Standard deviations in closed form: for `path` c = K U with probability 2/K, so E[c²] = 2K/3.

DEVIATIONS = {
    ("path", 2): math.sqrt(1 / 3),
    ("path", 4): 1.2910,
    ("simplex", 4): 0.7746,
    ("simplex", 3): math.sqrt(1 / 2),
    ("matching", 2): 0.5774,
    ("matching", 4): 0.5774,
    ("matching", 6): 0.5774,
    ("matching", 3): 0.7071,
    ("matching", 5): math.sqrt(2 / 5 * 1 / 3 + 3 / 5 * 1 / 2),
}


@pytest.mark.parametrize(("name", "count"), DEVIATIONS)
def test_coefficients_have_mean_one_and_the_stated_deviation(name: str, count: int) -> None:
    found, deviation = coefficients(SAMPLERS[name], count), DEVIATIONS[name, count]
    assert equal_coefficients(count).tolist() == [1.0] * count
    for k in range(count):
        assert float(found[:, k].mean()) == pytest.approx(1, abs=4 * deviation / math.sqrt(DRAWS))
        assert float(found[:, k].std()) == pytest.approx(deviation, rel=0.03)
    # Rows sum to 1, and so do shares: the coefficients of a step sum to K.
    torch.testing.assert_close(found.sum(dim=1), torch.full((DRAWS,), float(count)).double())


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_stated_mean_coefficients_are_those_of_the_draws(name: str, count: int) -> None:
    found = coefficients(SAMPLERS[name], count)
    error = 4 * found.std(dim=0) / math.sqrt(DRAWS)
    assert bool(((found.mean(dim=0) - COEFFICIENTS.get(name, equal_coefficients)(count)).abs() < error).all())


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_star_s_coefficients_are_not_alike(count: int) -> None:
    assert star_coefficients(count).tolist() == pytest.approx([count / 2] + [count / (2 * (count - 1))] * (count - 1))
    assert COEFFICIENTS.keys() == {"star"}


def test_members_are_divided_by_their_own_coefficients() -> None:
    assert tie_members(FREE, constraint="star", beta=2.0).divisors(4).tolist() == pytest.approx([5, *[1 + 4 / 3] * 3])
    assert tie_members(FREE, constraint="path", beta=2.0).divisors(4).tolist() == [3.0] * 4
    assert tie_members(FREE, constraint="star", beta=0.0).divisors(4).tolist() == [1.0] * 4


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_example_of_the_documentation_treats_members_alike(count: int, root: Path) -> None:
    text = (root / "docs/extending.md").read_text(encoding="utf-8")
    (block,) = [part for part in text.split("```python\n")[1:] if part.startswith("def draw_ring")]
    known = dict(vars(constraints))
    exec(block.partition("```")[0], known)
    found = coefficients(known["draw_ring"], count)
    torch.testing.assert_close(
        found.mean(dim=0), equal_coefficients(count), rtol=0, atol=4 * float(found.std()) / math.sqrt(DRAWS)
    )


# Matchings.


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_a_matching_has_every_member_in_one_row(count: int) -> None:
    draws = make_generator(0, "test")
    for _ in range(300):
        weights, source, shares = draw_matching(draws, count)
        inside = weights > 0
        assert inside.sum(dim=0).tolist() == [1] * count
        sizes = inside.sum(dim=1).tolist()
        assert sorted(sizes) == ([2] * (count // 2) if count % 2 == 0 else [2] * ((count - 3) // 2) + [3])
        assert shares.tolist() == pytest.approx([size / count for size in sizes])
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(sizes)).double())
        assert all(bool(inside[s, origin]) for s, origin in enumerate(source))


def test_matchings_and_whose_batch_their_rows_see_are_uniform() -> None:
    draws, pairings, triples, seen = make_generator(0, "test"), [0] * 3, [0] * 10, [0, 0]
    alphas = []
    for _ in range(6000):
        weights, source, _ = draw_matching(draws, 4)
        row = weights[0] if weights[0, 0] > 0 else weights[1]
        other = int(row[1:].argmax())
        pairings[other] += 1
        alphas.append(float(row[0]))
        seen[int(source[0] == int(weights[0].nonzero()[0]))] += 1
        inside = (draw_matching(draws, 5).weights > 0).sum(dim=1).argmax()
        assert inside == 1  # the triple is the last row
    for _ in range(6000):
        weights = draw_matching(draws, 5).weights
        pair = sorted(weights[0].nonzero().flatten().tolist())
        triples[[(i, j) for i in range(5) for j in range(i + 1, 5)].index(tuple(pair))] += 1
    assert sum((n - 2000) ** 2 / 2000 for n in pairings) < 13.8  # χ² of 2 degrees of freedom, once in a thousand
    assert sum((n - 600) ** 2 / 600 for n in triples) < 27.9  # of 9
    assert abs(seen[0] - 3000) < 3.3 * math.sqrt(6000) / 2
    ordered = torch.tensor(sorted(alphas))
    assert float((ordered - torch.linspace(0, 1, 6000)).abs().max()) < 1.95 / math.sqrt(6000)


def test_the_triple_of_a_matching_is_uniform_on_its_simplex() -> None:
    draws = make_generator(0, "test")
    rows = torch.cat([draw_matching(draws, 3).weights for _ in range(6000)])
    for k in range(3):
        values = rows[:, k].sort().values  # each weight alone is Beta(1, 2)
        expected = 1 - (1 - values) ** 2
        assert float((expected - torch.linspace(0, 1, 6000).double()).abs().max()) < 1.95 / math.sqrt(6000)
    assert float(rows.T.cov()[0, 1]) == pytest.approx(-1 / 36, rel=0.1)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("name", SAMPLERS)
def test_mixed_networks_are_counted(name: str, count: int) -> None:
    rows = len(SAMPLERS[name](make_generator(0), count).source)
    assert mixed_networks(name, 0.5, 3, count) == 3 * rows
    assert mixed_networks(name, 0.0, 3, count) == 0


def test_the_pull_needs_no_mixed_networks() -> None:
    assert mixed_networks("proximal", 0.5, 3, 4) == 0


@pytest.mark.parametrize("members", [2, 3, 4, 5])
def test_passes_of_matchings(members: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=1)
    construction = Constrained(members=members, t=0.2, constraint="matching", draws=2)
    grown(work, construction)
    assert work.meter.passes == 1 + 4 * (members + 2 * (members // 2)) == construction.spends(5).passes
