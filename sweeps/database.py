"""MLflow's own SQL tables, read only: what its client asks for run by run is three queries here, without its import."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from basin.errors import UsageError

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
EXPERIMENTS = sa.table("experiments", sa.column("experiment_id"), sa.column("name"))
RUNS = sa.table("runs", *map(sa.column, ("run_uuid", "experiment_id", "status", "lifecycle_stage", "start_time")))
TAGS, PARAMS, METRICS = (
    sa.table(name, *map(sa.column, ("run_uuid", "key", "value", *more)))
    for name, more in (("tags", ()), ("params", ()), ("latest_metrics", ("is_nan",)))
)
BATCH = 10_000
"""Values that a statement may name: SQLite has a limit of 32,766."""

CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
SECRET = re.compile(r"((?:password|passwd|secret|token)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
"""A parameter of an address that is nobody else's business."""

Values = dict[str, dict[str, Any]]
"""Run's id → name → value: a text, or a metric's number."""


def is_database(uri: str) -> bool:
    """Whether a tracking store is a database that can be read without a server."""
    return uri.partition(":")[0].partition("+")[0] in SCHEMES


def sqlite_file(uri: str) -> Path | None:
    """The file of a tracking store in SQLite; None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    name = sa.make_url(uri).database
    return Path(name) if name else None


def shown(text: str) -> str:
    """An address, or a text with addresses, without the secrets in them: for people, logs and files."""
    return SECRET.sub(r"\1***", CREDENTIALS.sub("***@", text))


class OutageError(UsageError):
    """A tracking store that does not answer now, and may later."""


class Known(NamedTuple):
    """A run that there is."""

    run_id: str
    status: str
    start: int
    """Milliseconds since 1970."""

    @property
    def ended(self) -> bool:
        """Whether all was written."""
        return self.status in ("FINISHED", "FAILED", "KILLED")


def unreachable(uri: str, error: Exception, kind: type[UsageError] = UsageError) -> UsageError:
    """The error for a tracking store that does not answer."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return kind(
        f"--tracking-uri {shown(uri)}: expected an MLflow tracking store that answers, got {shown(words)}; "
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

    def keys(self, experiment: str) -> dict[str, list[Known]]:
        """Trial's key → its runs that are not deleted, oldest first."""
        columns = (TAGS.c.value, RUNS.c.run_uuid, RUNS.c.status, RUNS.c.start_time)
        query = sa.select(*columns).join(RUNS, RUNS.c.run_uuid == TAGS.c.run_uuid).order_by(RUNS.c.start_time)
        found: dict[str, list[Known]] = {}
        with self._connected() as connection:
            for key, *about in connection.execute(query.where(_of(experiment), TAGS.c.key == "key")):
                found.setdefault(key, []).append(Known(*about))
        return found

    def finished(self, experiment: str, wanted: Sequence[tuple[sa.TableClause, str]]) -> list[tuple[str, list[Any]]]:
        """Id of each finished run, oldest first, with its value for each table and name; None where it has none.

        One row a run: in one row a value, Python would take five times as long over them as the database.
        """
        source: sa.FromClause = RUNS
        columns: list[sa.ColumnElement[Any]] = [RUNS.c.run_uuid]
        for table, name in wanted:
            part = table.alias()
            source = source.outerjoin(part, (part.c.run_uuid == RUNS.c.run_uuid) & (part.c.key == name))
            columns += [part.c.value, part.c.is_nan if table is METRICS else sa.literal(False)]
        query = sa.select(*columns).select_from(source).where(_of(experiment), RUNS.c.status == "FINISHED")
        with self._connected() as connection:
            rows = connection.execute(query.order_by(RUNS.c.start_time, RUNS.c.run_uuid)).all()
        return [
            (run, [math.nan if is_nan else value for value, is_nan in zip(rest[::2], rest[1::2], strict=True)])
            for run, *rest in rows
        ]

    def values(self, table: sa.TableClause, runs: Sequence[str]) -> Values:
        """All tags, parameters or last metrics of some runs."""
        found: Values = {}
        with self._connected() as connection:
            for start in range(0, len(runs), BATCH):
                query = sa.select(*table.c).where(table.c.run_uuid.in_(runs[start : start + BATCH]))
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
