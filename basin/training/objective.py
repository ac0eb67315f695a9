"""The training objective of a stack: the losses of its members and of mixtures of them.

    L(Θ) = ( 1/K Σ_k ℓ(θ_k) + β Σ_s u_s ℓ(W_s Θ) ) / (1 + β) + Σ_p strength_p · penalty_p(Θ)

The rows W_s are drawn at each step; their shares u_s sum to 1. Training follows the gradient of K · L: at β = 0 every
member takes exactly the steps of a network trained alone, and a learning rate means the same at every β. Where members
are not mixed equally often (`star`), member k's gradient is divided by 1 + β E[c_k] instead (`Objective.divisors`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from basin.stack import Stack


class Draw(NamedTuple):
    """Mixed networks of one training step."""

    weights: Float[Tensor, "S K"]
    """Rows of the mixing matrix."""
    source: tuple[int, ...]
    """Index of the member whose batch each of the S networks sees."""
    shares: Float[Tensor, " S"]
    """Share u_s of each network in the mixed loss; they sum to 1."""


Sampler = Callable[[torch.Generator, int], Draw]
"""(generator, K) → the mixed networks of a step."""
Coefficients = Callable[[int], Float[Tensor, " K"]]
"""K → the mean over draws of each member's coefficient c_k = K Σ_s u_s W_sk in the mixed loss."""
Penalty = Callable[[Stack], Tensor]
"""A differentiable scalar of the stacked weights."""


@dataclass
class Meter:
    """Compute spent. One pass is one batch through one network, forward and backward."""

    passes: int = 0
    """Passes of the task's own loss, trunk included once."""
    teacher_passes: int = 0
    """Passes that training the teachers took."""
    teacher_forwards: int = 0
    """Forward-only batches of teachers."""


@dataclass(frozen=True)
class Batch:
    """One member's batch, as it was drawn."""

    images: Shaped[Tensor, "batch *shape"]
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"]
    """Classes, or the probabilities of the classes."""
    positions: Int[Tensor, " batch"] | None = None
    """Places of the images in the training split, if they are as they stand there."""


@dataclass
class Answers:
    """Results computed on one batch in one step; members and mixed networks that see the batch share it."""

    teacher_logits: dict[int, Float[Tensor, "batch classes"]] = field(default_factory=dict)
    """Logits of each teacher that was evaluated on the batch: its length is the number of teacher forwards."""
    target: Float[Tensor, "batch classes"] | None = None
    """Soft targets, if the objective's `target` was called before the loss."""


Inputs = Callable[[Batch, torch.Generator], Batch]
"""(batch, generator) → the batch that is trained on."""
Loss = Callable[[Tensor, Batch, Float[Tensor, " K"], Answers], Tensor]
"""(logits, batch, row of the mixing matrix, answers on the batch) → mean loss of the batch."""
Target = Callable[[Batch, Float[Tensor, " K"], Answers], Float[Tensor, "batch classes"]]
"""(batch, row of the mixing matrix, answers on the batch) → probabilities."""
Prepare = Callable[[Sequence[Batch], Sequence[Answers], slice], None]
"""(batches of some members, their answers, which members) → nothing: fills the answers in one call."""


def cross_entropy(logits: Tensor, batch: Batch, weights: Tensor, answers: Answers) -> Tensor:
    """Mean cross-entropy with the labels, in nats."""
    return F.cross_entropy(logits, batch.labels)


def equal_coefficients(count: int) -> Float[Tensor, " K"]:
    """The mean coefficients of samplers that treat all members the same: 1 each."""
    return torch.ones(count, dtype=torch.float64)


@dataclass(frozen=True)
class Objective:
    """The loss of the members, and the strength and form of the constraint between them."""

    loss: Loss = cross_entropy
    beta: float = 0.0
    """Constraint strength β: weight of the mixed networks' loss relative to the members' own."""
    sampler: Sampler | None = None
    """Draws the mixed networks of a step; none where the constraint needs no mixed networks."""
    coefficients: Coefficients = equal_coefficients
    """Mean coefficients of the members under `sampler`."""
    pull: float = 0.0
    """Strength of the proximal pull to the members' mean: 1 shrinks their spread e-fold from branch to end."""
    penalties: tuple[tuple[float, Penalty], ...] = ()
    """Strength and penalty, for each that counts."""
    inputs: Inputs | None = None
    """Transforms a batch before any network sees it."""
    prepare: Prepare | None = None
    """Computes the answers on some members' batches in one call instead of one by one in the loss."""
    target: Target | None = None
    """Soft targets, a function of the batch and the mixing row. If the answers hold them, the loss ignores the row."""

    def divisors(self, count: int) -> Float[Tensor, " K"]:
        """Divisor of each member's gradient when mixed networks are drawn: 1 + β E[c_k]."""
        return 1 + self.beta * self.coefficients(count)


def mixup(alpha: float, classes: int) -> Inputs:
    """Each image mixed with another of its batch, γ ~ Beta(α, α) a batch, and the labels likewise (Zhang 2018)."""

    def mix(batch: Batch, draws: torch.Generator) -> Batch:
        gammas = torch._sample_dirichlet(torch.full((2,), alpha, dtype=torch.float64), draws)
        gamma = float(gammas[0])
        other = torch.randperm(len(batch.images), generator=draws).to(batch.images.device)
        labels = F.one_hot(batch.labels.long(), classes).to(batch.images)
        images = gamma * batch.images + (1 - gamma) * batch.images[other]
        return Batch(images, gamma * labels + (1 - gamma) * labels[other])

    return mix
