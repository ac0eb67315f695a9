"""The proof that an aligned network computes what it computed before."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from basin.alignment.matching import Match
from basin.data import Data
from basin.network import Network
from basin.stack import Params

TOLERANCE = 1e-9
"""Largest difference of logits that is rounding, relative to the largest logit."""
IMAGES = 64
"""Training images on which the functions are compared."""


class NotEquivalentError(ArithmeticError):
    """A permuted network computes something else: the model's permutation spec is wrong."""


@dataclass(frozen=True)
class Certificate:
    """What was proven of one aligned network, and how good the match is."""

    member: int
    error: float
    """max |f(x) − f_π(x)| of the logits over real images, in float64."""
    scale: float
    """max |f(x)|."""
    before: float
    """Total similarity to the reference without the permutation."""
    after: float
    """Total similarity with it."""
    restarts: int
    """Starts of the search."""
    spread: float
    """Best minus worst total similarity over the restarts."""
    barrier_before: float | None = None
    """Largest barrier to another member, at the paths' midpoints on validation; None where nobody measured it."""
    barrier_after: float | None = None
    """The same of the aligned members."""


def certify(
    network: Network, original: Params, permuted: Params, *, match: Match, data: Data, member: int
) -> Certificate:
    """The certificate of `permuted`; raises NotEquivalentError if it is not the same function as `original`."""
    images = data.normalise(data.train.take(torch.arange(min(IMAGES, len(data.train))))[0]).double()
    before, after = (_logits(network, params, images) for params in (original, permuted))
    error, scale = float((before - after).abs().max()), float(before.abs().max())
    if not error <= TOLERANCE * scale:
        raise NotEquivalentError(
            f"member {member}: expected the same function after the permutation, got logits that differ by {error:.3g} "
            f"(largest logit {scale:.3g}); the model's symmetry() lists a wrong axis or forgets one"
        )
    spread = max(match.restarts) - min(match.restarts)
    return Certificate(member, error, scale, match.before, match.after, len(match.restarts), spread)


@torch.no_grad()
def _logits(network: Network, params: Params, images: Tensor) -> Float[Tensor, "N C"]:
    wide = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in params.items()}
    return network(wide, images)
