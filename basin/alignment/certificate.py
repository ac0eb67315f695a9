"""Certificates: proof that an aligned network computes the same function as before."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from basin import stack
from basin.alignment.matching import Match
from basin.alignment.permutation import permute_network, random_permutation
from basin.data import Data
from basin.errors import UsageError
from basin.models.symmetry import WRITE_IT
from basin.seeds import make_generator
from basin.stack import Params
from basin.training.network import Network

TOLERANCE = 1e-9
"""Largest difference of logits that is rounding, relative to the largest logit."""
IMAGES = 64
"""Training images on which the functions are compared."""


class NotEquivalentError(UsageError):
    """A permuted network computes another function: the model's permutation spec is wrong."""


@dataclass(frozen=True)
class Certificate:
    """Proof for one aligned network, and the quality of its match."""

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
    """Largest barrier to another member, at the paths' midpoints on validation; None if not measured."""
    barrier_after: float | None = None
    """The same of the aligned members."""


def certify_member(
    network: Network, original: Params, permuted: Params, *, match: Match, data: Data, member: int
) -> Certificate:
    """Certify `permuted`; raises NotEquivalentError if it does not compute the same function as `original`."""
    images = _first_images(data)
    before, after = (_double_logits(network, params, images) for params in (original, permuted))
    error, scale = float((before - after).abs().max()), float(before.abs().max())
    if not error <= TOLERANCE * scale:
        raise NotEquivalentError(
            f"member {member}: expected the same function after the permutation, got logits that differ by {error:.3g} "
            f"(largest logit {scale:.3g}); the model's symmetry() lists a wrong axis or forgets one"
        )
    spread = max(match.restarts) - min(match.restarts)
    return Certificate(member, error, scale, match.before, match.after, len(match.restarts), spread)


def certify_symmetry(network: Network, data: Data) -> None:
    """Certify the network's permutation spec on random weights; raises NotEquivalentError, naming a wrong group."""
    symmetry, draws, images = network.symmetry, make_generator("symmetry"), _first_images(data)
    params = {name: _vary_constants(tensor.cpu(), draws) for name, tensor in network.init("symmetry").items()}
    params = stack.to_device(params, network.device)
    before = _double_logits(network, params, images)
    for name in symmetry:
        group = {name: symmetry[name]}
        after = _double_logits(network, permute_network(params, group, random_permutation(group, draws)), images)
        error = float((before - after).abs().max() / before.abs().max())
        if not error <= TOLERANCE:
            raise NotEquivalentError(
                f"{type(network.module).__name__}: permuting the units of {name!r} changes the logits by {error:.3g} "
                f"of the largest: correct the module's symmetry(), or {WRITE_IT}"
            )


def _vary_constants(tensor: Tensor, draws: Generator) -> Tensor:
    """Fresh biases, scales and statistics are all alike, so a wrong order of them would not show."""
    if not tensor.is_floating_point() or bool((tensor != tensor.flatten()[:1]).any()):
        return tensor
    return tensor + 0.1 * torch.randn(tensor.shape, generator=draws)


def _first_images(data: Data) -> Float[Tensor, "N *shape"]:
    return _widen(data.normalise(data.train.take(torch.arange(min(IMAGES, len(data.train))))[0]))


@torch.no_grad()
def _double_logits(network: Network, params: Params, images: Tensor) -> Float[Tensor, "N C"]:
    return network({name: _widen(tensor) for name, tensor in params.items()}, images)


def _widen(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
