"""What ties the branches of an ensemble together: mixed networks whose loss counts too, or a pull to the mean."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from basin.objective import Draw, Penalty, Sampler
from basin.stack import Stack

Constraint = Literal["path", "proximal"]


@dataclass(frozen=True)
class Tie:
    """One constraint: either mixed networks or a penalty."""

    sampler: Sampler | None = None
    penalty: Penalty | None = None


def path(draws: Generator, count: int) -> Draw:
    """A point of the segment between a random pair i < j, α ~ U(0, 1); it sees the batch of either end."""
    pair = torch.randperm(count, generator=draws)[:2].sort().values
    alpha = torch.rand((), generator=draws, dtype=torch.float64)
    weights = torch.zeros(1, count, dtype=torch.float64)
    weights[0, pair[0]] = 1 - alpha
    weights[0, pair[1]] = alpha
    end = int(torch.randint(2, (), generator=draws))
    return Draw(weights, (int(pair[end]),))


def proximal(weights: Stack) -> Tensor:
    """1/P · Σ_k ‖θ_k − mean‖², P the number of weights of one network."""
    squares = [(theta - theta.mean(dim=0)).square().sum() for theta in weights.values()]
    return torch.stack(squares).sum() / sum(theta[0].numel() for theta in weights.values())


TIES: dict[str, Tie] = {"path": Tie(sampler=path), "proximal": Tie(penalty=proximal)}
