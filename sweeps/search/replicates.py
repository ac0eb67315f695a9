"""Further seeds of a configuration: replicates within the search, and fresh seeds of the chosen configurations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.events import Listener
from sweeps.search.selection import choose_configurations, describe_violation
from sweeps.storage.store import Row, Store
from sweeps.study.job import Job
from sweeps.study.study import Study


def search_jobs(study: Study, first: Job, seed: int) -> list[Job]:
    """A searched configuration on every search seed: the given job, then its replicates."""
    seeds = range(seed + 1, seed + study.replicates)
    return [first, *(study.make_job("replicate", {**first.changes, "seed": other}) for other in seeds)]


def fresh_jobs(study: Study, rows: Sequence[Row], seed: int) -> list[Job]:
    """The chosen configurations on every reported seed."""
    seeds, jobs = study.reported_seeds(seed), []
    for chosen in choose_configurations(study, rows):
        for other in seeds:
            changes = study.reported_changes(chosen.point, other, first=other == seeds[0])
            jobs.append(study.make_job("fresh", changes))
    return jobs


def missing_jobs(store: Store, jobs: Sequence[Job]) -> list[Job]:
    """Jobs whose trials have no row yet, without duplicates."""
    by_key = {job.key: job for job in jobs}
    return [job for key, job in by_key.items() if store.row(key) is None]


@dataclass(frozen=True)
class FreshSeeds:
    """The trials of the chosen configurations; called when the search is done."""

    study: Study
    store: Store
    seed: int
    listener: Listener | None = None

    @property
    def most(self) -> int:
        """Upper bound of their number."""
        return len(self.study.space.constructions) * self.study.seeds if self.study.trials else 0

    def missing(self) -> list[Job]:
        """Trials that are still to be run."""
        return missing_jobs(self.store, fresh_jobs(self.study, self.store.rows(), self.seed))

    def __call__(self) -> list[Job]:
        """Announce the missing trials, and choices that violate a limit; return the trials."""
        missing = self.missing()
        if self.listener and missing:
            for chosen in choose_configurations(self.study, self.store.rows()):
                if message := describe_violation(chosen):
                    self.listener.note(message)
            self.listener.phase("fresh seeds", len(missing))
        return missing

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the listener: a terminal cannot be sent to another process."""
        return FreshSeeds, (self.study, self.store, self.seed)
