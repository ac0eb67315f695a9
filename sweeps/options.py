"""How and where a study is run, and who wants to know how it is getting on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from basin.place import Machine
from sweeps.mirror import Mirror
from sweeps.store import Row


@dataclass(frozen=True, kw_only=True)
class Options:
    """How and where a study is run."""

    name: str
    storage: Path
    mirror: Mirror | None = None
    """Where the storage lies in truth, if `storage` is but a working folder."""
    tracking_uri: str | None = None
    address: str = "local"
    seed: int = 0
    data: Path | None = None
    ood_data: Path | None = None
    cache: Path | None = None
    machine: Machine
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    warm_start: tuple[str, ...] = ()
    """Sweeps of the storage whose rows the sampler is told first."""
    deadline: float | None = None
    """Seconds without a sign of life after which a trial's process is ended, and the trial tried again."""
    concurrency: int | None = None
    """Trials at once; None for what the cluster has room for when the sweep starts."""


class Listener(Protocol):
    """Who wants to know how the sweep is getting on."""

    def phase(self, name: str, total: int) -> None:
        """A phase with `total` parts begins."""

    def advance(self, result: Row | None = None) -> None:
        """One part is done; for a trial with its last report."""

    def note(self, words: str) -> None:
        """Something to be known at once, which stops nothing."""
