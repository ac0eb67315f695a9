"""Options of a sweep."""

from dataclasses import dataclass
from pathlib import Path

from basin.environment import Machine, Place
from basin.files import Nowhere
from sweeps.storage.object_store import Mirror


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a study's run: name, folders, addresses and resources."""

    name: str
    storage: Path
    mirror: Mirror | None = None
    """Object store, if `storage` is only the local copy of it."""
    tracking_uri: str | None = None
    adopt: bool = False
    """Take over an experiment, and runs with other results, from another folder."""
    system_metrics: bool = False
    """Log the load of the launcher's machine to MLflow."""
    address: str = "local"
    seed: int = 0
    data: Path | None = None
    ood_data: Path | None = None
    cache: Path | None = None
    machine: Machine
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    warm_start: tuple[str, ...] = ()
    """Sweeps in the storage whose finished trials initialise the sampler."""
    deadline: float | None = None
    """Seconds without progress after which the process of a trial is killed and the trial retried."""
    concurrency: int | None = None
    """Trials at once; None for all that fit the cluster when the sweep starts."""

    def make_place(self) -> Place:
        """Return the folders and the machine of the trials."""
        cache = {"cache": self.cache} if self.cache else {}
        return Place(
            machine=self.machine,
            data=self.data.resolve() if self.data else None,
            ood_data=self.ood_data.resolve() if self.ood_data else None,
            runs=(self.storage / "runs").resolve(),
            remote=self.mirror or Nowhere(),
            gpu_share=min(1.0, self.gpus_per_trial) or 1.0,
            **cache,
        )

    def data_sources(self) -> dict[str, str | None]:
        """Where the images are, for those who use the networks later."""
        named = {"source": self.data, "ood_source": self.ood_data}
        return {name: str(path.resolve()) if path else None for name, path in named.items()}
