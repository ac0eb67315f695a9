"""The plane through three networks (Garipov 2018, appendix A.1), and how far others lie outside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.connectivity.probe import Probe

MARGIN = 0.2
"""The grid reaches this much of a side beyond the anchors."""


class CollinearError(ValueError):
    """Three networks on one line span no plane."""


@dataclass(frozen=True)
class PlanePoint:
    """One network in, or near, the plane, scored on one split."""

    split: str
    policy: str
    vertex: int | None
    """The vertex that this is; none for a point of the grid."""
    x: float
    """Coordinate along θ_2 − θ_0, in units of weight."""
    y: float
    """Coordinate along the part of θ_1 − θ_0 that is orthogonal to it."""
    residual: float
    """Distance from the plane, in units of weight; 0 on the grid."""
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Plane:
    """An orthonormal basis through three networks, as affine combinations of them."""

    origin: Float[Tensor, " P"]
    u: Float[Tensor, " P"]
    v: Float[Tensor, " P"]
    dx: float
    """‖θ_2 − θ_0‖."""
    dy: float
    """Distance of θ_1 from the line through θ_0 and θ_2."""
    shift: float
    """Coordinate of θ_1 along u."""

    @classmethod
    def through(cls, w0: Float[Tensor, " P"], w1: Float[Tensor, " P"], w2: Float[Tensor, " P"]) -> "Plane":
        """The plane; raises CollinearError if the three networks lie on one line."""
        dx = float((w2 - w0).norm())
        u = (w2 - w0) / dx if dx else w2 - w0
        shift = float((w1 - w0) @ u)
        rest = (w1 - w0) - shift * u
        dy = float(rest.norm())
        if dx == 0 or dy <= 1e-12 * float((w1 - w0).norm()):
            raise CollinearError(f"a plane needs three networks that are not on one line, got sides {dx:g} and {dy:g}")
        return cls(w0, u, rest / dy, dx, dy, shift)

    def row(self, x: float, y: float) -> tuple[float, float, float]:
        """The affine weights of the three networks at a point of the plane; they sum to 1."""
        first = y / self.dy
        second = (x - first * self.shift) / self.dx
        return 1 - first - second, first, second

    def project(self, w: Float[Tensor, " P"]) -> tuple[float, float, float]:
        """Coordinates of a network's projection, and its distance from the plane."""
        x, y = float((w - self.origin) @ self.u), float((w - self.origin) @ self.v)
        return x, y, float((w - self.origin - x * self.u - y * self.v).norm())


def score_plane(probe: Probe, anchors: Sequence[int], *, points: int, policy: str) -> Iterator[PlanePoint]:
    """Score a grid of `points` by `points` on −0.2 … 1.2 of each side, then every vertex, all under one policy."""
    flat = stack.flatten_weights(probe.context.members, probe.context.network.weights).double()
    basis = Plane.through(*(flat[anchor] for anchor in anchors))
    steps = torch.linspace(-MARGIN, 1 + MARGIN, points, dtype=torch.float64).tolist()
    places = [(a * basis.dx, b * basis.dy) for a, b in product(steps, steps)]
    rows = torch.zeros(len(places), len(flat), dtype=torch.float64)
    for row, place in zip(rows, places, strict=True):
        row[list(anchors)] = torch.tensor(basis.row(*place), dtype=torch.float64)
    for (x, y), score in zip(places, probe.mixed(rows, policy), strict=True):
        for split, result in score.items():
            yield PlanePoint(split, policy, None, x, y, 0.0, result.accuracy, result.loss)
    for vertex, score in enumerate(probe.ends(policy)):
        x, y, residual = basis.project(flat[vertex])
        for split, result in score.items():
            yield PlanePoint(split, policy, vertex, x, y, residual, result.accuracy, result.loss)
