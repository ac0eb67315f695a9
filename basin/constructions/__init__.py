"""Ways to make an ensemble, one file each: a frozen dataclass of hyperparameters that grows ensembles."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from basin.ensemble import Ensemble
from basin.registry import Registry
from basin.task import Task


class Spends(NamedTuple):
    """Passes that a trial takes, known before it is run."""

    trained: int
    """Trained by the trial itself."""
    shared: int = 0
    """Passes of stages that count as the trial's, whoever trained them; teachers are counted separately."""

    @property
    def passes(self) -> int:
        """Passes on the trial's meter at its end."""
        return self.trained + self.shared


class Construction(Protocol):
    """A way to make an ensemble."""

    @property
    def members(self) -> int:
        """Networks in the ensemble."""
        ...

    def needs(self, steps: int) -> dict[int, int]:
        """Stages that the construction uses: member → number of its `steps` that are needed."""
        ...

    def spends(self, steps: int) -> Spends:
        """Passes of a trial whose budget is `steps`; a contract test compares them with the counted ones."""
        ...

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """Yield better and better ensembles; the last is the result. A caller stops early by ending the iteration."""
        ...


constructions: Registry[Construction] = Registry("construction", __name__)
