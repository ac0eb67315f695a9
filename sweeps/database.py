"""MLflow's own SQL tables, read only: what its client asks for run by run is three queries here, without its import."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from basin.errors import UsageError

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
EXPERIMENTS = sa.table("experiments", sa.column("experiment_id"), sa.column("name"))
RUNS = sa.table("runs", *map(sa.column, ("run_uuid", "experiment_id", "status", "lifecycle_stage", "start_time")))
TAGS, PARAMS, METRICS = (
    sa.table(name, *map(sa.column, ("run_uuid", "key", "value", *more)))
    for name, more in (("tags", ()), ("params", ()), ("latest_metrics", ("is_nan",)))
)

Values = dict[str, dict[str, Any]]
"""Run's id → name → value: a text, or a metric's number."""


def is_database(uri: str) -> bool:
    """Whether a tracking store is a database that can be read without a server."""
    return uri.partition(":")[0].partition("+")[0] in SCHEMES


def unreachable(uri: str, error: Exception) -> UsageError:
    """The error for a tracking store that does not answer."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UsageError(
        f"--tracking-uri {uri}: expected an MLflow tracking store that answers, got {words}; "
        "start the server, or leave the option out for SQLite in the storage folder"
    )


@dataclass(frozen=True)
class Database:
    """The tracking store behind a database URI."""

    uri: str

    def experiments(self) -> dict[str, str]:
        """Name → MLflow's id."""
        with self._connected() as connection:
            found = connection.execute(sa.select(EXPERIMENTS.c.name, EXPERIMENTS.c.experiment_id))
            return {name: str(number) for name, number in found}

    def states(self, experiment: str) -> dict[str, str]:
        """Id of each run that is not deleted → its status, oldest first."""
        query = sa.select(RUNS.c.run_uuid, RUNS.c.status).where(_of(experiment))
        with self._connected() as connection:
            found = connection.execute(query.order_by(RUNS.c.start_time, RUNS.c.run_uuid))
            return dict(map(tuple, found))

    def values(
        self,
        table: sa.TableClause,
        experiment: str,
        names: Collection[str] | None = None,
        runs: Collection[str] | None = None,
    ) -> Values:
        """Tags, parameters or last metrics: all or those named, of all runs or of some."""
        query = sa.select(*table.c).join(RUNS, RUNS.c.run_uuid == table.c.run_uuid).where(_of(experiment))
        if names is not None:
            query = query.where(table.c.key.in_(names))
        if runs is not None:
            query = query.where(table.c.run_uuid.in_(runs))
        found: Values = {}
        with self._connected() as connection:
            for run, name, value, *is_nan in connection.execute(query):
                found.setdefault(run, {})[name] = math.nan if any(is_nan) else value
        return found

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        try:
            engine = sa.create_engine(self.uri, poolclass=sa.NullPool)
            with engine.connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, ImportError) as error:  # ImportError: the database's driver
            raise unreachable(self.uri, error) from error


def _of(experiment: str) -> sa.ColumnElement[bool]:
    return (RUNS.c.experiment_id == int(experiment)) & (RUNS.c.lifecycle_stage == "active")
