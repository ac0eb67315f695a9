"""The one shape of every ensemble: trained vertices, members as their affine combinations, claimed edges."""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.alignment.certificate import Certificate
from basin.stack import Stack

Edge = tuple[int, int]


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of M members spanned by K trained vertices of weight space."""

    vertices: Stack
    coords: Float[Tensor, "M K"]
    """Members as affine combinations of the vertices: rows sum to 1."""
    edges: tuple[Edge, ...] = ()
    """Pairs of vertices that the construction claims to be connected."""
    anchors: tuple[int, int, int] = (0, 1, 2)
    """Those `around` that span the plane in which the ensemble is drawn, the first its origin."""
    certificates: tuple[Certificate, ...] = ()
    """Proofs that members compute what they did before they were aligned."""
    beside: Stack | None = None
    """Networks that the ensemble is drawn with and is not made of: what each member was trained after."""

    def __post_init__(self) -> None:
        sums = self.coords.sum(dim=1)
        if not torch.allclose(sums, torch.ones_like(sums)):
            raise ValueError(f"coords must have rows that sum to 1, got sums {sums.tolist()}")

    @classmethod
    def of_members(cls, vertices: Stack, edges: tuple[Edge, ...] = ()) -> "Ensemble":
        """The ensemble whose members are its vertices."""
        return cls(vertices, stack.unit_rows(stack.size(vertices)), edges)

    def around(self) -> Stack:
        """The vertices, then the networks beside them."""
        return self.vertices if self.beside is None else stack.concatenate([self.vertices, self.beside])

    def members(self) -> Stack:
        """The M member networks; vertices themselves where coords is the identity."""
        identity = stack.unit_rows(stack.size(self.vertices))
        return self.vertices if torch.equal(self.coords, identity) else stack.mix(self.vertices, self.coords)


def all_pairs(count: int) -> tuple[Edge, ...]:
    """Every pair i < j of `count` networks."""
    return tuple(combinations(range(count), 2))


def star_pairs(count: int) -> tuple[Edge, ...]:
    """Member 0 with every other."""
    return tuple((0, other) for other in range(1, count))


def chain(count: int) -> tuple[Edge, ...]:
    """Every network with the next."""
    return tuple((i, i + 1) for i in range(count - 1))
