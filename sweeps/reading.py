"""Finished trials as MLflow knows them: by SQL where the tracking store is a database, else through MLflow's client."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from basin.errors import UsageError
from sweeps.database import METRICS, PARAMS, TAGS, Database, is_database, shown, sqlite_file
from sweeps.tracking import Tracker, no_sweep


@dataclass(frozen=True)
class Run:
    """One finished trial as MLflow knows it."""

    key: str
    role: str
    construction: str
    params: dict[str, str]
    metrics: dict[str, float]
    run_id: str = ""
    """MLflow's name of it."""
    feasible: bool = True
    """Whether validation satisfies the sweep's constraints; without any, every run does."""


class Reader(Protocol):
    """The runs of one sweep."""

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment."""
        ...

    def finished(self, metrics: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first: whole, or with `metrics` at least with these.

        Ten thousand whole runs are over a million values.
        """
        ...

    def whole(self, runs: Sequence[Run]) -> list[Run]:
        """These runs with all their parameters and metrics."""
        ...


def open_reader(uri: str, name: str) -> Reader:
    """The runs of a sweep; raises UsageError for a store that does not answer, and naming the sweeps there are."""
    if not is_database(uri):
        return ClientReader(Tracker.existing(uri, name))
    if (file := sqlite_file(uri)) and not file.exists():
        raise UsageError(f"no MLflow store at {shown(uri)}: run `launch.py sweep` first, or give --storage")
    database = Database(uri)
    experiments = database.experiments()
    if name not in experiments:
        raise no_sweep(name, uri, experiments)
    return DatabaseReader(database, experiments[name])


@dataclass(frozen=True)
class DatabaseReader:
    """By SQL, only what is asked for."""

    database: Database
    experiment: str

    def finished(self, metrics: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first: whole, or with these metrics and no parameters."""
        names = sorted(metrics or ())
        wanted = [
            (TAGS, "key"),
            (TAGS, "role"),
            (TAGS, "feasible"),
            (PARAMS, "construction"),
            *((METRICS, name) for name in names),
        ]
        runs = []
        for run, (key, role, feasible, construction, *values) in self.database.finished(self.experiment, wanted):
            numbers = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if key is not None:
                runs.append(Run(key, role, construction, {}, numbers, run, feasible != "False"))
        return self.whole(runs) if metrics is None else runs

    def whole(self, runs: Sequence[Run]) -> list[Run]:
        """These runs with all their parameters and metrics."""
        ids = [run.run_id for run in runs]
        params, metrics = (self.database.values(table, ids) for table in (PARAMS, METRICS))
        return [replace(r, params=params.get(r.run_id, {}), metrics=metrics.get(r.run_id, {})) for r in runs]


@dataclass(frozen=True)
class ClientReader:
    """Through MLflow's client, which hands out whole runs only."""

    tracker: Tracker

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment."""
        return self.tracker.experiment

    def finished(self, metrics: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first."""
        return list(self._read())

    def whole(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs: they are whole."""
        return list(runs)

    def _read(self) -> Iterator[Run]:
        for run in self.tracker.runs():
            tags, params = run.data.tags, run.data.params
            if run.info.status == "FINISHED" and "key" in tags:
                numbers = run.data.metrics
                feasible = tags.get("feasible") != "False"
                yield Run(tags["key"], tags["role"], params["construction"], params, numbers, run.info.run_id, feasible)
