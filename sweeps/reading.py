"""Finished trials as MLflow knows them: by SQL where the tracking store is a database, else through MLflow's client."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from basin.errors import UsageError
from sweeps.database import METRICS, PARAMS, TAGS, Database, is_database
from sweeps.tracking import Tracker, no_sweep


@dataclass(frozen=True)
class Run:
    """One finished trial as MLflow knows it."""

    key: str
    role: str
    construction: str
    params: dict[str, str]
    metrics: dict[str, float]


class Reader(Protocol):
    """The runs of one sweep."""

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment."""
        ...

    def finished(self, *, metrics: Collection[str] | None = None, keys: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first, or those with these keys.

        With `metrics` at least these come along, and parameters may be left out: ten thousand whole runs are over a
        million values.
        """
        ...


def open_reader(uri: str, name: str) -> Reader:
    """The runs of a sweep; raises UsageError for a store that does not answer, and naming the sweeps there are."""
    if not is_database(uri):
        return ClientReader(Tracker.existing(uri, name))
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UsageError(f"no MLflow store at {uri}: run `launch.py sweep` first, or give --storage")
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

    def finished(self, *, metrics: Collection[str] | None = None, keys: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first, or those with these keys; with `metrics` only these."""
        read, experiment = self.database.values, self.experiment
        tags = read(TAGS, experiment, ("key", "role"))
        chosen = [
            run
            for run, status in self.database.states(experiment).items()
            if status == "FINISHED" and (key := tags.get(run, {}).get("key")) and (keys is None or key in keys)
        ]
        some = None if keys is None else chosen
        params = read(PARAMS, experiment, None if metrics is None else ("construction",), some)
        numbers = read(METRICS, experiment, metrics, some)
        return [
            Run(tags[r]["key"], tags[r]["role"], params[r]["construction"], params[r], numbers.get(r, {}))
            for r in chosen
        ]


@dataclass(frozen=True)
class ClientReader:
    """Through MLflow's client, which hands out whole runs only."""

    tracker: Tracker

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment."""
        return self.tracker.experiment

    def finished(self, *, metrics: Collection[str] | None = None, keys: Collection[str] | None = None) -> list[Run]:
        """Every finished run, oldest first, or those with these keys."""
        return [run for run in self._all if keys is None or run.key in keys]

    @cached_property
    def _all(self) -> list[Run]:
        return list(self._read())

    def _read(self) -> Iterator[Run]:
        for run in self.tracker.runs():
            data = run.data
            if run.info.status == "FINISHED" and "key" in data.tags:
                yield Run(data.tags["key"], data.tags["role"], data.params["construction"], data.params, data.metrics)
