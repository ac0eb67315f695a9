"""What ties the branches of an ensemble together: mixed networks whose loss counts too, or a pull to the mean."""

from dataclasses import replace
from itertools import combinations
from typing import Literal

import torch
from torch import Generator, Tensor

from basin.objective import Draw, Objective, Penalty, Sampler
from basin.stack import Stack, size

Constraint = Literal["path", "star", "simplex", "proximal"]


def path(draws: Generator, count: int) -> Draw:
    """A point of the segment between a random pair i < j, α ~ U(0, 1); it sees the batch of either end."""
    pair = torch.randperm(count, generator=draws)[:2].sort().values
    return _segment(int(pair[0]), int(pair[1]), draws, count)


def star(draws: Generator, count: int) -> Draw:
    """A point of the segment between member 0 and a random other one."""
    return _segment(0, int(torch.randint(1, count, (), generator=draws)), draws, count)


def simplex(draws: Generator, count: int) -> Draw:
    """A point of the convex hull, weights ~ Dirichlet(1, …, 1); it sees the batch of a random member."""
    weights = torch.empty(1, count, dtype=torch.float64).exponential_(generator=draws)
    return Draw(weights / weights.sum(), (int(torch.randint(count, (), generator=draws)),))


def proximal(weights: Stack) -> Tensor:
    """1/P · Σ_k ‖θ_k − mean‖², P the number of weights of one network."""
    squares = [(theta - theta.mean(dim=0)).square().sum() for theta in weights.values()]
    return torch.stack(squares).sum() / sum(theta[0].numel() for theta in weights.values())


def orthogonality(weights: Stack) -> Tensor:
    """Mean over pairs of cos²(θ_i, θ_j) over all weights (Wortsman 2021, section 3.2): pushes members apart."""
    flat = torch.cat([theta.flatten(1) for theta in weights.values()], dim=1)
    pairs = combinations(range(size(weights)), 2)
    return torch.stack([torch.cosine_similarity(flat[i], flat[j], dim=0).square() for i, j in pairs]).mean()


SAMPLERS: dict[str, Sampler] = {"path": path, "star": star, "simplex": simplex}
PENALTIES: dict[str, Penalty] = {"proximal": proximal}


def several(sampler: Sampler, draws: int) -> Sampler:
    """That many mixed networks a step, drawn one after another; their mean loss counts, not the sum."""

    def draw(generator: Generator, count: int) -> Draw:
        found = [sampler(generator, count) for _ in range(draws)]
        return Draw(torch.cat([one.weights for one in found]), tuple(source for one in found for source in one.source))

    return draw


def mixed_networks(constraint: str, beta: float, draws: int) -> int:
    """Mixed networks of each step under a constraint of strength β."""
    return draws if beta and constraint in SAMPLERS else 0


def tied(objective: Objective, *, constraint: str, beta: float, draws: int = 1, orthogonal: float = 0.0) -> Objective:
    """The objective under a constraint of strength β, and the separate term that pushes members apart."""
    penalties: list[tuple[float, Penalty]] = [(orthogonal, orthogonality)]
    if constraint in PENALTIES:
        penalties.append((beta, PENALTIES[constraint]))
    sampler = several(SAMPLERS[constraint], draws) if constraint in SAMPLERS else None
    return replace(objective, beta=beta, sampler=sampler, penalties=tuple(penalties))


def _segment(i: int, j: int, draws: Generator, count: int) -> Draw:
    alpha = torch.rand((), generator=draws, dtype=torch.float64)
    weights = torch.zeros(1, count, dtype=torch.float64)
    weights[0, i], weights[0, j] = 1 - alpha, alpha
    return Draw(weights, ((i, j)[int(torch.randint(2, (), generator=draws))],))
