"""Constraints that tie the branches of an ensemble: the loss of mixed networks, or a pull to the members' mean.

A sampler draws the rows W_s of a step and their shares u_s. Member k's coefficient in the mixed loss is
c_k = K Σ_s u_s W_sk; its mean determines the divisor of the member's gradient (`Objective.divisors`). Its standard
deviation over steps is gradient noise: at K = 4 it is 1.29 for `path`, 0.77 for `simplex` and 0.58 for `matching`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from basin.stack import Stack, count_networks
from basin.training.objective import Coefficients, Draw, Objective, Sampler, equal_coefficients

ConstraintName = Literal["path", "matching", "star", "simplex", "proximal"]


def draw_path(draws: Generator, count: int) -> Draw:
    """Draw a point of the segment between a random pair i < j, α ~ U(0, 1); it sees the batch of either end."""
    pair = torch.randperm(count, generator=draws)[:2].sort().values
    return _draw_segment(int(pair[0]), int(pair[1]), draws, count)


def draw_matching(draws: Generator, count: int) -> Draw:
    """Draw a random perfect matching: every member is in exactly one row.

    Even K: K/2 disjoint pairs, one α ~ U(0, 1) each. Odd K: one row is a triple, Dirichlet(1, 1, 1), the others are
    pairs. A row of n members has share n/K and sees the batch of one of them.
    """
    order = torch.randperm(count, generator=draws).tolist()
    starts = range(0, count - 1, 2)
    groups = [order[at:] if at + 3 == count else order[at : at + 2] for at in starts]
    rows = [_simplex_row(group, draws, count) for group in groups]
    source = tuple(group[int(torch.randint(len(group), (), generator=draws))] for group in groups)
    shares = torch.tensor([len(group) / count for group in groups], dtype=torch.float64)
    return Draw(torch.stack(rows), source, shares)


def draw_star(draws: Generator, count: int) -> Draw:
    """Draw a point of the segment between member 0 and a random other one."""
    return _draw_segment(0, int(torch.randint(1, count, (), generator=draws)), draws, count)


def star_coefficients(count: int) -> Float[Tensor, " K"]:
    """The mean coefficients of `star`: K/2 for member 0, K/(2(K−1)) for the others."""
    means = torch.full((count,), count / (2 * (count - 1)), dtype=torch.float64)
    means[0] = count / 2
    return means


def draw_simplex(draws: Generator, count: int) -> Draw:
    """Draw a point of the convex hull, weights ~ Dirichlet(1, …, 1); it sees the batch of a random member."""
    weights = torch.empty(1, count, dtype=torch.float64).exponential_(generator=draws)
    return _single_draw(weights / weights.sum(), int(torch.randint(count, (), generator=draws)))


def mean_squared_cosine(weights: Stack) -> Tensor:
    """Mean over pairs of cos²(θ_i, θ_j) over all weights (Wortsman 2021, section 3.2): pushes members apart."""
    flat = torch.cat([theta.flatten(1) for theta in weights.values()], dim=1)
    pairs = combinations(range(count_networks(weights)), 2)
    return torch.stack([torch.cosine_similarity(flat[i], flat[j], dim=0).square() for i, j in pairs]).mean()


SAMPLERS: dict[str, Sampler] = {
    "path": draw_path,
    "matching": draw_matching,
    "star": draw_star,
    "simplex": draw_simplex,
}
COEFFICIENTS: dict[str, Coefficients] = {"star": star_coefficients}
"""Mean coefficients of the samplers that do not treat all members the same."""


def repeat_draws(sampler: Sampler, draws: int) -> Sampler:
    """Make a sampler of `draws` independent draws per step, whose losses are averaged."""

    def draw(generator: Generator, count: int) -> Draw:
        parts = [sampler(generator, count) for _ in range(draws)]
        weights = torch.cat([one.weights for one in parts])
        source = tuple(chain.from_iterable(one.source for one in parts))
        return Draw(weights, source, torch.cat([one.shares for one in parts]) / draws)

    return draw


def mixed_networks(constraint: str, beta: float, draws: int, members: int) -> int:
    """Count the mixed networks of each step under a constraint of strength β on so many members."""
    if not beta or constraint not in SAMPLERS:
        return 0
    return draws * (members // 2 if constraint == "matching" else 1)


def tie_members(
    objective: Objective, *, constraint: str, beta: float, draws: int = 1, orthogonal: float = 0.0
) -> Objective:
    """Put the objective under a constraint of strength β; `orthogonal` weighs the term that pushes members apart."""
    return replace(
        objective,
        beta=beta,
        sampler=repeat_draws(SAMPLERS[constraint], draws) if constraint in SAMPLERS else None,
        coefficients=COEFFICIENTS.get(constraint, equal_coefficients),
        pull=beta if constraint == "proximal" else 0.0,
        penalties=((orthogonal, mean_squared_cosine),),
    )


def _draw_segment(i: int, j: int, draws: Generator, count: int) -> Draw:
    alpha = torch.rand((), generator=draws, dtype=torch.float64)
    weights = torch.zeros(1, count, dtype=torch.float64)
    weights[0, i], weights[0, j] = 1 - alpha, alpha
    return _single_draw(weights, (i, j)[int(torch.randint(2, (), generator=draws))])


def _single_draw(weights: Float[Tensor, "1 K"], source: int) -> Draw:
    return Draw(weights, (source,), torch.ones(1, dtype=torch.float64))


def _simplex_row(group: Sequence[int], draws: Generator, count: int) -> Float[Tensor, " K"]:
    """Draw a uniform point of the simplex of some members; for two, α ~ U(0, 1)."""
    shares = torch.empty(len(group), dtype=torch.float64).exponential_(generator=draws)
    row = torch.zeros(count, dtype=torch.float64)
    row[list(group)] = shares / shares.sum()
    return row
