"""MLflow, written from the ledger: one run a trial, named by its key, however often this is done.

The Arrow tables are the record; MLflow is brought in line with them. So an outage loses nothing and a second pass
adds nothing: a run is looked up by its tag before it is made, and metrics carry the recorded times.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from basin.errors import UsageError
from sweeps.database import Database, Known, OutageError, is_database, shown, sqlite_file, unreachable
from sweeps.entry import Entry, entry, times
from sweeps.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000
"""MLflow's limit of metrics in one request."""
TIMES = ("key", "seconds", "finished_at")
"""The columns that tell one run of a trial from another."""


def default_uri(storage: Path) -> str:
    """The embedded default: a SQLite file in the storage folder."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"


def is_remote(uri: str) -> bool:
    """Whether a tracking store may be away for a while and come back."""
    return uri.startswith(("http://", "https://")) or (is_database(uri) and not uri.startswith("sqlite"))


def connect(uri: str) -> "MlflowClient":
    """A client of a tracking store that answers; raises UsageError if none does, OutageError if it may later."""
    # No request is repeated by the client: one that made a run and whose answer was lost would make a second run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        if file := sqlite_file(uri):
            if not file.exists():
                _set_up(file)
            sqlite3.connect(file).close()  # MLflow tries again for 100 s what cannot be opened
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # MLflow, requests and SQLAlchemy raise kinds of their own
        raise failed(uri, error) from error
    return client


def _set_up(file: Path) -> None:
    """Put MLflow's tables into a new file, all or none: where MLflow is cut off in this, it fails for ever after.

    Nothing where another process was faster, or where files have no hard links; there MLflow does it itself.
    """
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        made = Path(folder) / file.name
        MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments(max_results=1)
        with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as beside:
            shutil.copy(made, beside.name)
            with suppress(OSError):
                os.link(beside.name, file)


def failed(uri: str, error: Exception) -> UsageError:
    """The error of a request to a tracking store: OutageError if asking again later may help."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, UsageError):
        return error
    if isinstance(error, MlflowException):
        passing = error.get_http_status_code() >= 500 or error.get_http_status_code() == 429
    else:
        passing = isinstance(error, OSError | DBAPIError)  # the client's errors of the network are OSErrors
    return unreachable(uri, error, OutageError if passing and is_remote(uri) else UsageError)


def no_sweep(name: str, uri: str, there: Iterable[str]) -> UsageError:
    """The error for a sweep that a tracking store does not have."""
    names = ", ".join(sorted(other for other in there if other != "Default"))
    return UsageError(f"no sweep {name!r} in {shown(uri)}: expected one of {names or '(none yet)'}")


@dataclass(frozen=True)
class Tracker:
    """The MLflow experiment of one sweep."""

    client: "MlflowClient"
    experiment: str
    """MLflow's id of the experiment."""

    @classmethod
    def open(cls, uri: str, store: Store) -> "Tracker":
        """The experiment named like the sweep, made if absent."""
        client = connect(uri)
        found = client.get_experiment_by_name(store.name)
        if found:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return cls(client, found.experiment_id)
        local = uri.startswith("sqlite:")
        artifacts = (store.folder / "mlartifacts").resolve().as_uri() if local else None
        return cls(client, client.create_experiment(store.name, artifact_location=artifacts))

    @classmethod
    def existing(cls, uri: str, name: str) -> "Tracker":
        """The experiment of a sweep; raises UsageError naming those there are."""
        client = connect(uri)
        found = client.get_experiment_by_name(name)
        if found is None:
            raise no_sweep(name, uri, [experiment.name for experiment in client.search_experiments()])
        return cls(client, found.experiment_id)

    def runs(self) -> Iterator[Any]:
        """Every run, oldest first, a page at a time."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def sync(self, store: Store, keys: Iterable[str] | None = None) -> int:
        """Log the finished trials that MLflow does not have yet; return how many."""
        return sum(self.settle(store, key, known) for key, known in self.behind(store, keys).items())

    def behind(self, store: Store, keys: Iterable[str] | None = None) -> dict[str, list[Known]]:
        """The finished trials that have not exactly one whole run, each with the runs that it has."""
        known, wanted = self.known(), None if keys is None else set(keys)
        starts = {row["key"]: times(row)[0] for row in store.rows(TIMES)}
        return {
            key: known.get(key, [])
            for key, began in starts.items()
            if (wanted is None or key in wanted)
            and [(run.ended, run.start) for run in known.get(key, [])] != [(True, began)]
        }

    def known(self) -> dict[str, list[Known]]:
        """Key → its runs, oldest first: one, unless the answer to a request was lost."""
        uri = self.client.tracking_uri
        if is_database(uri):
            return Database(uri).keys(self.experiment)
        found: dict[str, list[Known]] = {}
        for run in self.runs():
            if "key" in run.data.tags:
                about = Known(run.info.run_id, run.info.status, run.info.start_time)
                found.setdefault(run.data.tags["key"], []).append(about)
        return found

    def settle(self, store: Store, key: str, known: list[Known]) -> bool:
        """Leave one whole run of a trial; return whether anything was logged.

        A run that began at another time is of an earlier run of the trial, whose row was lost; MLflow cannot change
        its numbers, so it is replaced.
        """
        row = store.row(key)
        if row is None:
            return False
        told = entry(store, row)
        own = [run for run in known if run.start == told.began]
        kept = next((run for run in own if run.ended), own[0] if own else None)
        for run in known:
            if run is not kept:
                self.client.delete_run(run.run_id)
        if kept is None or not kept.ended:
            self.log(told, kept.run_id if kept else None)
        return kept is None or not kept.ended

    def log(self, told: Entry, run_id: str | None) -> None:
        """Write a trial's run, or what a run lacks: what is there already is written again and changes nothing."""
        from mlflow.entities import Metric, Param, RunTag

        if run_id is None:
            tags = {**told.tags, "key": told.key}
            run_id = self.client.create_run(
                self.experiment, start_time=told.began, tags=tags, run_name=told.key
            ).info.run_id
        params = [Param(*pair) for pair in told.params.items()]
        self.client.log_batch(run_id, params=params, tags=[RunTag(*pair) for pair in told.tags.items()])
        for start in range(0, len(told.points), BATCH):
            points = [Metric(*point) for point in told.points[start : start + BATCH]]
            self.client.log_batch(run_id, metrics=points)
        for folder, file in told.files.items():
            self.client.log_artifact(run_id, str(file), folder)
        self.client.set_terminated(run_id, told.status, told.ended)
