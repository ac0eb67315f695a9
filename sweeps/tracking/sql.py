"""Read-only queries on MLflow's SQL tables: three queries instead of one request per run, and no mlflow import."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from sweeps.tracking.uri import unreachable_error

EXPERIMENTS = sa.table("experiments", *map(sa.column, ("experiment_id", "name", "lifecycle_stage")))
EXPERIMENT_TAGS = sa.table("experiment_tags", *map(sa.column, ("experiment_id", "key", "value")))
RUNS = sa.table("runs", *map(sa.column, ("run_uuid", "experiment_id", "status", "lifecycle_stage", "start_time")))
TAGS, PARAMS, METRICS = (
    sa.table(name, *map(sa.column, ("run_uuid", "key", "value", *more)))
    for name, more in (("tags", ()), ("params", ()), ("latest_metrics", ("is_nan",)))
)
SUPERSEDED = "superseded_by"
"""Tag of a run that another one replaces: its results are no longer those of its trial."""
SWEEP_ROLE = "sweep"
"""Tag `role` of the run of the sweep itself, under which those of its trials are nested."""
PENDING = "pending"
"""Tag `content` of a run whose trial has no results yet."""
LIVE = "live_"
"""Prefix of the metrics that a run gets while its trial runs; the same scores follow under their own names."""
BATCH = 10_000
"""Values named in one statement: SQLite allows 32,766."""

Values = dict[str, dict[str, Any]]
"""Run id → name → value: a text, or the number of a metric."""


class LoggedRun(NamedTuple):
    """A run in MLflow."""

    run_id: str
    status: str
    start: int
    """Milliseconds since 1970."""
    content: str = ""
    """Hash of the row that the run was written from; empty in runs of older versions, PENDING if there is no row."""

    @property
    def is_pending(self) -> bool:
        """Tell whether the run shows a trial that has no results yet: it runs, or it failed or was stopped."""
        return self.content == PENDING

    @property
    def is_open(self) -> bool:
        """Tell whether the run shows a trial as running."""
        return self.is_pending and self.status == "RUNNING"

    @property
    def is_complete(self) -> bool:
        """Tell whether the run was written completely, with results."""
        return self.status in ("FINISHED", "FAILED", "KILLED") and not self.is_pending


@dataclass(frozen=True)
class Database:
    """The tracking store behind a database URI."""

    uri: str

    def list_experiments(self, *, deleted: bool = False) -> dict[str, str]:
        """Experiment name → MLflow's id; those that were deleted only on request."""
        query = sa.select(EXPERIMENTS.c.name, EXPERIMENTS.c.experiment_id)
        rows = self._rows(query if deleted else query.where(EXPERIMENTS.c.lifecycle_stage == "active"))
        return {name: str(number) for name, number in rows}

    def experiment_tags(self, experiment: str) -> dict[str, str]:
        """Tags of the experiment itself."""
        query = sa.select(EXPERIMENT_TAGS.c.key, EXPERIMENT_TAGS.c.value).where(
            EXPERIMENT_TAGS.c.experiment_id == int(experiment)
        )
        return {name: str(value) for name, value in self._rows(query)}

    def runs_by_key(self, experiment: str) -> dict[str, list[LoggedRun]]:
        """Trial key → its runs that are neither deleted nor superseded, oldest first."""
        content = TAGS.alias()
        columns = (
            TAGS.c.value,
            RUNS.c.run_uuid,
            RUNS.c.status,
            RUNS.c.start_time,
            sa.func.coalesce(content.c.value, ""),
        )
        same = (content.c.run_uuid == RUNS.c.run_uuid) & (content.c.key == "content")
        query = sa.select(*columns).join(RUNS, RUNS.c.run_uuid == TAGS.c.run_uuid).outerjoin(content, same)
        query = query.order_by(RUNS.c.start_time)
        runs: dict[str, list[LoggedRun]] = {}
        for key, *columns_of_run in self._rows(query.where(_belongs_to(experiment), TAGS.c.key == "key")):
            runs.setdefault(key, []).append(LoggedRun(*columns_of_run))
        return runs

    def sweep_statuses(self, experiment: str) -> list[str]:
        """Status of each run of the sweep itself that is neither deleted nor superseded: one."""
        query = sa.select(RUNS.c.status).join(TAGS, TAGS.c.run_uuid == RUNS.c.run_uuid)
        role = (TAGS.c.key == "role") & (TAGS.c.value == SWEEP_ROLE)
        return [status for (status,) in self._rows(query.where(_belongs_to(experiment), role))]

    def logged_names(self, metrics: Collection[str]) -> set[str]:
        """Return those of some metrics that any run of the store has; each is one look into an index."""
        looks = [
            sa.select(sa.literal(name)).where(sa.exists().where(METRICS.c.key == name)) for name in sorted(metrics)
        ]
        return {name for (name,) in self._rows(sa.union_all(*looks))} if looks else set()

    def finished_values(
        self, experiment: str, wanted: Sequence[tuple[sa.TableClause, str]]
    ) -> list[tuple[str, list[Any]]]:
        """Id of each finished run, oldest first, with its value for each table and name; None where it has none.

        The query returns one row per run: one row per value would take Python five times as long.
        """
        source: sa.FromClause = RUNS
        columns: list[sa.ColumnElement[Any]] = [RUNS.c.run_uuid]
        for table, name in wanted:
            part = table.alias()
            source = source.outerjoin(part, (part.c.run_uuid == RUNS.c.run_uuid) & (part.c.key == name))
            columns += [part.c.value, part.c.is_nan if table is METRICS else sa.literal(False)]
        query = sa.select(*columns).select_from(source).where(_belongs_to(experiment), RUNS.c.status == "FINISHED")
        return [
            (run, [math.nan if is_nan else value for value, is_nan in zip(rest[::2], rest[1::2], strict=True)])
            for run, *rest in self._rows(query.order_by(RUNS.c.start_time, RUNS.c.run_uuid))
        ]

    def run_values(self, table: sa.TableClause, runs: Sequence[str]) -> Values:
        """All tags, parameters or last metrics of some runs."""
        values: Values = {}
        for start in range(0, len(runs), BATCH):
            query = sa.select(*table.c).where(table.c.run_uuid.in_(runs[start : start + BATCH]))
            for run, name, value, *is_nan in self._rows(query):
                values.setdefault(run, {})[name] = math.nan if any(is_nan) else value
        return values

    def _rows(self, query: sa.Executable) -> Iterator[Any]:
        try:
            engine = sa.create_engine(self.uri, poolclass=sa.NullPool)
            with engine.connect() as connection:
                yield from connection.execute(query)
        except (sa.exc.SQLAlchemyError, ImportError) as error:  # ImportError: the database's driver
            raise unreachable_error(self.uri, error) from error


def _belongs_to(experiment: str) -> sa.ColumnElement[bool]:
    """Runs of an experiment that are neither deleted nor superseded."""
    tag = TAGS.alias()
    superseded = sa.exists().where((tag.c.run_uuid == RUNS.c.run_uuid) & (tag.c.key == SUPERSEDED))
    return (RUNS.c.experiment_id == int(experiment)) & (RUNS.c.lifecycle_stage == "active") & ~superseded
