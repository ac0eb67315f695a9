"""Planes through three networks: a grid of networks and the vertices near it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.data.queries import Configuration, Tables
from analysis.errors import Missing

SCORES = ("accuracy", "loss")


@dataclass(frozen=True)
class Plane:
    """Coordinates [n] and [n] in units of weight, accuracy in % and loss in nats [n, n] (y, x), and the vertices."""

    key: str
    x: np.ndarray
    y: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    vertices: list[dict[str, Any]]

    @property
    def anchors(self) -> list[int]:
        """Vertices that lie in the plane, up to rounding."""
        size = float(np.hypot(np.ptp(self.x), np.ptp(self.y)))
        return [v["vertex"] for v in self.vertices if v["residual"] < 1e-4 * size]


def planes_of(tables: Tables, configuration: Configuration) -> Iterator[Plane]:
    """Read the planes of a configuration's seeds on the reported split, in their order."""
    for key in configuration.keys:
        with contextlib.suppress(Missing):
            points = [p for p in tables.load("planes", [key]).to_pylist() if p["split"] == tables.split]
            network = sorted((p for p in points if p["vertex"] is None), key=lambda p: (p["y"], p["x"]))
            x, y = (np.unique([round(p[axis], 9) for p in network]) for axis in "xy")
            if network and len(network) == len(x) * len(y):
                accuracy, loss = (np.array([p[m] for p in network]).reshape(len(y), len(x)) for m in SCORES)
                vertices = sorted((p for p in points if p["vertex"] is not None), key=lambda p: p["vertex"])
                yield Plane(key, x, y, accuracy, loss, vertices)


def find_plane(tables: Tables, configuration: Configuration) -> Plane | None:
    """Return the plane of the first seed that has one."""
    return next(planes_of(tables, configuration), None)


def plane_of(tables: Tables, configuration: Configuration) -> Plane:
    """Return the plane of the first seed that has one. Raises Missing if none has."""
    if plane := find_plane(tables, configuration):
        return plane
    raise Missing(f"no {configuration.construction} trial has a plane on the {tables.split} split")
