"""Ways to make an ensemble, one file each: a frozen dataclass of hyperparameters that grows ensembles."""

from collections.abc import Iterator
from typing import Protocol

from basin.ensemble import Ensemble
from basin.registry import Registry
from basin.task import Task


class Construction(Protocol):
    """How an ensemble is made."""

    @property
    def members(self) -> int:
        """Networks in the ensemble."""
        ...

    def needs(self, steps: int) -> dict[int, int]:
        """Single runs this is built from: member → number of its `steps` that are needed."""
        ...

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """Ever better ensembles; the last is the result. To stop early is to stop iterating."""
        ...


constructions: Registry[Construction] = Registry("construction", __name__)
