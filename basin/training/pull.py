"""The proximal constraint: a pull of each member to the members' mean, decoupled from the loss.

    θ_k ← mean + exp(−β lr_s / Σ lr) (θ_k − mean)   in step s,   Σ lr over all steps of the branch

The pull acts on the weights after the optimizer's step, as AdamW's weight decay does. The factors multiply to exp(−β):
β alone shrinks the members' distance to their mean by β e-folds, whatever optimizer, schedule and length. As a part of
SGD's gradient it would be β (1 − momentum) / Σ lr · (θ_k − mean) to first order; there momentum carries the pull of the
last steps past the end, which on 33 steps leaves e^−0.7 at β = 1.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from basin.training.flat_parameters import Flat


@dataclass(frozen=True)
class Pull:
    """The pull in each step of a branch."""

    strength: float
    """β / Σ lr: e-folds of a step of learning rate 1."""

    @classmethod
    def over(cls, rates: Iterable[float], *, beta: float) -> "Pull":
        """The pull of strength β in a branch with these learning rates, one for each of its steps."""
        total = sum(rates)
        return cls(beta / total if total else 0.0)

    @torch.no_grad()
    def act(self, flat: Flat, lr: float) -> None:
        """Pull the members in a step of learning rate `lr`; the buffers of the networks stay as they are."""
        removed = -math.expm1(-lr * self.strength)
        if removed:
            flat.weights.lerp_(flat.weights.mean(dim=0, keepdim=True).expand_as(flat.weights), removed)
