"""Ways to make an ensemble, one file each: a frozen dataclass of hyperparameters that grows ensembles."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from basin.ensemble import Ensemble
from basin.registry import Registry
from basin.task import Task


class Spends(NamedTuple):
    """Passes that a trial takes, known before it is run."""

    own: int
    """Trained by the trial itself."""
    shared: int = 0
    """Of single runs that count as the trial's, whoever trained them; teachers are none of these."""

    @property
    def passes(self) -> int:
        """What the trial's meter will have counted at its end."""
        return self.own + self.shared


class Construction(Protocol):
    """How an ensemble is made."""

    @property
    def members(self) -> int:
        """Networks in the ensemble."""
        ...

    def needs(self, steps: int) -> dict[int, int]:
        """Single runs this is built from: member → number of its `steps` that are needed."""
        ...

    def spends(self, steps: int) -> Spends:
        """Passes of a trial whose budget is `steps`: a contract test holds it equal to what is counted."""
        ...

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """Ever better ensembles; the last is the result. To stop early is to stop iterating."""
        ...


constructions: Registry[Construction] = Registry("construction", __name__)
