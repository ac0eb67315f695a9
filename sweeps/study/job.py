"""A trial that a sweep runs, resolved once."""

from collections.abc import Mapping
from dataclasses import dataclass

from basin.trial import Trial

Changes = Mapping[str, object]
"""Fields in which a trial differs from the base of its study."""


@dataclass(frozen=True)
class Job:
    """A trial and its role in the sweep. It is sent to a worker as it is."""

    role: str
    """search, replicate, fresh, grid or reference."""
    changes: Changes
    """Changes that made the trial, as the searcher's journal records them."""
    trial: Trial
    configuration: str
    """Hash that the trial shares with the same configuration on other seeds."""

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.trial.key
