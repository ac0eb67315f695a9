"""What a stack is trained on: losses of its members, and of mixtures of them.

    K · L(Θ) = Σ_k ℓ(θ_k) + β K · mean over draws of ℓ(W Θ) + K · Σ_p strength_p · penalty_p(Θ)

K times the L of the design, so that with β = 0 every member takes exactly the steps of a network trained alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from basin.stack import Stack


class Draw(NamedTuple):
    """Mixed networks of one training step."""

    weights: Float[Tensor, "S K"]
    """Rows of the mixing matrix."""
    source: tuple[int, ...]
    """Whose batch each of the S networks sees."""


Sampler = Callable[[torch.Generator, int], Draw]
"""(generator, K) → the mixed networks of a step."""
Penalty = Callable[[Stack], Tensor]
"""A differentiable scalar of the stacked weights."""


@dataclass
class Meter:
    """What was spent. One pass is one batch through one network, forward and backward."""

    passes: int = 0
    """Passes of the task's own loss, trunk included once."""
    teacher_passes: int = 0
    """Passes that training the teachers took."""
    teacher_forwards: int = 0
    """Forward-only batches of teachers."""


@dataclass
class Batch:
    """One member's batch, with what was computed on it already."""

    images: Float[Tensor, "batch channels height width"]
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"]
    """Classes, or the probabilities of the classes."""
    positions: Int[Tensor, " batch"] | None = None
    """Places of the images in the training split, if they are as they stand there."""
    teacher_logits: dict[int, Tensor] = field(default_factory=dict)
    target: Float[Tensor, "batch classes"] | None = None
    """What the objective's `target` says of the batch, where it was asked before the loss."""


Inputs = Callable[[Batch, torch.Generator], Batch]
"""(batch, generator) → the batch that is trained on."""
Loss = Callable[[Tensor, Batch, Float[Tensor, " K"]], Tensor]
"""(logits, batch, row of the mixing matrix) → mean loss of the batch."""
Target = Callable[[Batch, Float[Tensor, " K"]], Float[Tensor, "batch classes"]]
"""(batch, row of the mixing matrix) → probabilities."""


def cross_entropy(logits: Tensor, batch: Batch, weights: Tensor) -> Tensor:
    """Mean cross-entropy with the labels, in nats."""
    return F.cross_entropy(logits, batch.labels)


@dataclass(frozen=True)
class Objective:
    """The loss of networks, and how strongly mixtures of them count."""

    loss: Loss = cross_entropy
    beta: float = 0.0
    """Constraint strength β."""
    sampler: Sampler | None = None
    penalties: tuple[tuple[float, Penalty], ...] = ()
    """Strength and penalty, for each that counts."""
    inputs: Inputs | None = None
    """What is done to a batch before any network sees it."""
    prepare: Callable[[Sequence[Batch], slice], None] | None = None
    """Computes for some members' batches at once what the loss would compute for each."""
    target: Target | None = None
    """What the loss holds a network against beside labels, as a function of the batch and the row of the mixing matrix
    alone; with it in the batch, the loss does not look at the row."""


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
