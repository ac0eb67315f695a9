"""Ensembles as trained vertices, members that are affine combinations of them, and claimed edges."""

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
    """Pairs of vertices that the construction claims to be connected; verdicts are about these. None: all pairs."""
    anchors: tuple[int, int, int] = (0, 1, 2)
    """Indices into `around` of the networks that span the plotted plane; the first is its origin."""
    certificates: tuple[Certificate, ...] = ()
    """Proofs that aligned members compute the same function as before."""
    companions: Stack | None = None
    """Networks that are plotted with the ensemble without being part of it: each member's teacher."""

    def __post_init__(self) -> None:
        sums = self.coords.sum(dim=1)
        if not torch.allclose(sums, torch.ones_like(sums)):
            raise ValueError(f"coords must have rows that sum to 1, got sums {sums.tolist()}")

    @classmethod
    def of_members(cls, vertices: Stack, edges: tuple[Edge, ...] = ()) -> "Ensemble":
        """The ensemble whose members are its vertices."""
        return cls(vertices, stack.unit_rows(stack.count_networks(vertices)), edges)

    def around(self) -> Stack:
        """The vertices, then the networks plotted with them."""
        return self.vertices if self.companions is None else stack.join_stacks([self.vertices, self.companions])

    def members(self) -> Stack:
        """The M member networks; vertices themselves where coords is the identity."""
        identity = stack.unit_rows(stack.count_networks(self.vertices))
        return self.vertices if torch.equal(self.coords, identity) else stack.mix(self.vertices, self.coords)


def all_pairs(count: int) -> tuple[Edge, ...]:
    """Every pair i < j of `count` networks."""
    return tuple(combinations(range(count), 2))


def star_pairs(count: int) -> tuple[Edge, ...]:
    """Member 0 with every other."""
    return tuple((0, other) for other in range(1, count))


def chain_pairs(count: int) -> tuple[Edge, ...]:
    """Every network with the next."""
    return tuple((i, i + 1) for i in range(count - 1))
