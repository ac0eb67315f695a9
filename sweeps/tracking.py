"""MLflow, written from the ledger: one run a trial, named by its key, however often this is done.

The Arrow tables are the record; MLflow is brought in line with them. So an outage loses nothing and a second pass
adds nothing: a run is looked up by its tag before it is made, and metrics carry the recorded times.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basin.errors import UsageError
from sweeps.database import Database, is_database, unreachable
from sweeps.schemas import SCHEMAS, hyperparameters, is_score
from sweeps.store import Row, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

IDENTITY = ("dataset", "model", "construction", "seed")
BATCH = 1000
"""MLflow's limit of metrics in one request."""


def default_uri(storage: Path) -> str:
    """The embedded default: a SQLite file in the storage folder."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"


def connect(uri: str) -> "MlflowClient":
    """A client of a tracking store that answers; raises UsageError if none does."""
    # Fail in seconds, not minutes, where there is no server: nothing here waits for the network in a trial.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # MLflow, requests and SQLAlchemy raise kinds of their own
        raise unreachable(uri, error) from error
    return client


def no_sweep(name: str, uri: str, there: Iterable[str]) -> UsageError:
    """The error for a sweep that a tracking store does not have."""
    names = ", ".join(sorted(other for other in there if other != "Default"))
    return UsageError(f"no sweep {name!r} in {uri}: expected one of {names or '(none yet)'}")


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
        known, count = self._known(), 0
        for key in store.keys() if keys is None else keys:
            run, status = known.get(key, (None, None))
            if status not in ("FINISHED", "FAILED") and (row := store.row(key)):
                self._log(store, row, run)
                count += 1
        return count

    def _known(self) -> dict[str, tuple[str, str]]:
        """Key → id and status of its run."""
        uri = self.client.tracking_uri
        if not is_database(uri):
            named = [run for run in self.runs() if "key" in run.data.tags]
            return {run.data.tags["key"]: (run.info.run_id, run.info.status) for run in named}
        return Database(uri).keys(self.experiment)

    def _log(self, store: Store, row: Row, run_id: str | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        key = row["key"]
        ended = int(row["finished_at"].timestamp() * 1000)
        began = ended - int(1000 * (row["seconds"] or 0))
        tags = {name: str(row[name]) for name in _tag_names(row)}
        if run_id is None:
            run_id = self.client.create_run(
                self.experiment, start_time=began, tags={**tags, "key": key}, run_name=key
            ).info.run_id
        history = store.table("history", key).to_pylist()
        metrics = [
            Metric(name, value, began + int(1000 * step["seconds"]), step["step"])
            for step in history
            for name, value in step.items()
            if name.startswith("val_") and value is not None
        ]
        # The finished ensemble's scores come last, so that MLflow's "latest" is the final number.
        last = max((step["step"] for step in history), default=0) + 1
        metrics += [Metric(name, float(row[name]), ended, last) for name in final_metrics(row)]
        params = [Param(name, str(row[name])) for name in _param_names(row)]
        self.client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items()])
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        for table in SCHEMAS:
            if not store.path(table, key).exists():
                continue
            self.client.log_artifact(run_id, str(store.path(table, key)), f"tables/{table}")
        self.client.set_terminated(run_id, "FINISHED" if row["status"] == "done" else "FAILED", ended)


def final_metrics(row: Row) -> list[str]:
    """The columns of a trial's row that are logged as final metrics: scores and costs."""
    costs = ("passes", "teacher_passes", "teacher_forwards", "member_epochs", "image_passes", "seconds")
    return [name for name, value in row.items() if value is not None and (is_score(name) or name in costs)]


def _param_names(row: Row) -> list[str]:
    names = {*IDENTITY, *(spec.name for spec in hyperparameters())}
    return [name for name in row if name in names and row[name] is not None]


def _tag_names(row: Row) -> list[str]:
    logged = {*final_metrics(row), *_param_names(row)}
    return [name for name, value in row.items() if value is not None and name not in logged]
