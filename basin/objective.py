"""What a stack is trained on: losses of its members, and of mixtures of them.

    K · L(Θ) = Σ_k ℓ(θ_k) + β K · mean over draws of ℓ(W Θ) + K · Σ_p strength_p · penalty_p(Θ)

K times the L of the design, so that with β = 0 every member takes exactly the steps of a network trained alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.network import Network
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
    teacher_logits: dict[int, Tensor] = field(default_factory=dict)


Inputs = Callable[[Batch, torch.Generator], Batch]
"""(batch, generator) → the batch that is trained on."""
Loss = Callable[[Tensor, Batch, Float[Tensor, " K"]], Tensor]
"""(logits, batch, row of the mixing matrix) → mean loss of the batch."""


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


class Distillation:
    """(1−λ)·CE + λ·τ²·KL(teacher ‖ student) at temperature τ, batch mean (Hinton 2015, section 2).

    Student k learns from teacher k, and a mixed network from the same mixture of the teachers' tempered
    probabilities; with `shared` every network learns from the mean over all teachers.
    """

    def __init__(
        self,
        network: Network,
        teachers: Stack,
        meter: Meter,
        *,
        temperature: float,
        weight: float,
        shared: bool = False,
    ) -> None:
        self._network = network
        self._teachers = list(stack.rows(teachers))
        self._meter = meter
        self._temperature = temperature
        self._weight = weight
        self._shared = torch.full((len(self._teachers),), 1 / len(self._teachers)) if shared else None

    def __call__(self, logits: Tensor, batch: Batch, weights: Tensor) -> Tensor:
        """The loss of one network's logits on one batch."""
        hard = F.cross_entropy(logits, batch.labels)
        if self._weight == 0:
            return hard
        tau = self._temperature
        target = self._target(batch, weights if self._shared is None else self._shared)
        soft = F.kl_div(F.log_softmax(logits / tau, dim=1), target, reduction="batchmean")
        return (1 - self._weight) * hard + self._weight * tau**2 * soft

    @torch.no_grad()
    def _target(self, batch: Batch, weights: Tensor) -> Tensor:
        parts = []
        for k, share in enumerate(weights.tolist()):
            if share == 0:
                continue
            if k not in batch.teacher_logits:
                batch.teacher_logits[k] = self._network(self._teachers[k], batch.images)
                self._meter.teacher_forwards += 1
            parts.append(share * F.softmax(batch.teacher_logits[k] / self._temperature, dim=1))
        return torch.stack(parts).sum(dim=0)


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
