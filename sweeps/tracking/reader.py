"""Read finished trials from MLflow: by SQL from a database, else through MLflow's client."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from basin.errors import UsageError
from sweeps.storage.address import is_database
from sweeps.tracking.metric_names import by_column, possible_names
from sweeps.tracking.sql import LIVE, METRICS, PARAMS, TAGS, Database
from sweeps.tracking.uri import require_store, sqlite_file, unknown_sweep_error

if TYPE_CHECKING:
    from sweeps.tracking.tracker import Tracker

KEPT_TAGS = ("margin", "verdict_val", "verdict_test")
"""Tags of a complete run that are kept."""


@dataclass(frozen=True)
class Run:
    """The run of one finished trial."""

    key: str
    role: str
    construction: str
    params: dict[str, str]
    metrics: dict[str, float]
    """By column of the tables."""
    run_id: str = ""
    """MLflow's id of the run."""
    feasible: bool = True
    """True if validation satisfies all limits of the sweep, or if that is unknown."""
    configuration: str = ""
    """Hash shared by all seeds of a configuration; empty in runs of older versions."""
    tags: dict[str, str] = field(default_factory=dict)
    """Margin, and verdicts of this seed."""


def open_reader(uri: str, name: str) -> "Reader":
    """Open the runs of a sweep; raises UsageError for a store that does not answer and for an unknown sweep."""
    if not is_database(uri):
        from sweeps.tracking.tracker import Tracker

        return ClientReader(Tracker.find_experiment(uri, name))
    require_store(uri)
    database = Database(uri)
    experiments = database.list_experiments()
    if name not in experiments:
        raise unknown_sweep_error(name, uri, experiments)
    return DatabaseReader(database, experiments[name])


def may_have_sweep(uri: str, name: str) -> bool:
    """Tell whether a tracking store may have a sweep; a database is asked without MLflow's slow import."""
    if not is_database(uri):
        return True
    if (file := sqlite_file(uri)) and not file.exists():
        return False
    with suppress(UsageError):
        return name in Database(uri).list_experiments()
    return True


@dataclass(frozen=True)
class DatabaseReader:
    """Reads by SQL, and only what is asked for."""

    database: Database
    experiment: str

    def read_tags(self) -> dict[str, str]:
        """Tags of the experiment."""
        return self.database.experiment_tags(self.experiment)

    def finished_runs(self, metrics: Collection[str] | None = None) -> list[Run]:
        """All finished runs, oldest first: complete, or with at least these metrics, which are named by their columns.

        Ten thousand complete runs have over a million values; with `metrics` they have no parameters.
        """
        names = [(column, name) for column in sorted(metrics or ()) for name in possible_names(column)]
        logged = self.database.logged_names({name for _, name in names})
        names = [pair for pair in names if pair[1] in logged]
        wanted = [
            (TAGS, "key"),
            (TAGS, "role"),
            (TAGS, "feasible"),
            (TAGS, "configuration"),
            (PARAMS, "construction"),
            *((METRICS, name) for _, name in names),
        ]
        runs = []
        for run, (key, role, feasible, same, construction, *values) in self.database.finished_values(
            self.experiment, wanted
        ):
            if key is None:  # the run of the sweep, or a user's
                continue
            numbers: dict[str, float] = {}
            for (column, _), value in zip(names, values, strict=True):
                if value is not None:
                    numbers.setdefault(column, value)
            runs.append(Run(key, role, construction, {}, numbers, run, feasible != "False", same or ""))
        return self.complete_runs(runs) if metrics is None else runs

    def complete_runs(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs with all their parameters and metrics."""
        ids = [run.run_id for run in runs]
        params, metrics, tags = (self.database.run_values(table, ids) for table in (PARAMS, METRICS, TAGS))
        return [
            replace(
                run,
                params=params.get(run.run_id, {}),
                metrics=_final_metrics(metrics.get(run.run_id, {})),
                tags=_kept_tags(tags.get(run.run_id, {})),
            )
            for run in runs
        ]


@dataclass(frozen=True)
class ClientReader:
    """Reads through MLflow's client, which returns complete runs only."""

    tracker: "Tracker"

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment."""
        return self.tracker.experiment

    def read_tags(self) -> dict[str, str]:
        """Tags of the experiment."""
        return self.tracker.read_tags()

    def finished_runs(self, metrics: Collection[str] | None = None) -> list[Run]:
        """All finished runs, oldest first."""
        return list(self._read_runs())

    def complete_runs(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs: they are complete."""
        return list(runs)

    def _read_runs(self) -> Iterator[Run]:
        for run in self.tracker.list_runs():
            tags, params = run.data.tags, run.data.params
            if run.info.status == "FINISHED" and "key" in tags:
                yield Run(
                    key=tags["key"],
                    role=tags["role"],
                    construction=params["construction"],
                    params=params,
                    metrics=_final_metrics(run.data.metrics),
                    run_id=run.info.run_id,
                    feasible=tags.get("feasible") != "False",
                    configuration=tags.get("configuration", ""),
                    tags=_kept_tags(tags),
                )


Reader = DatabaseReader | ClientReader
"""Reads the runs of one sweep."""


def _final_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Name the metrics by their columns, without those logged while the trial ran, which depend on the load."""
    return by_column({name: value for name, value in metrics.items() if not name.startswith(LIVE)})


def _kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: tags[name] for name in KEPT_TAGS if name in tags}
