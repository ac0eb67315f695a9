"""Write MLflow from the result tables: one live run per trial, named by its key.

The tables are the source of truth and MLflow is reconciled with them: an outage loses nothing, and a repeated upload
adds nothing. A run is looked up by its tag before it is created, and metrics carry the recorded times. No run is ever
deleted: a run that another one replaces ends as KILLED, with the tag `superseded_by`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from getpass import getuser
from typing import TYPE_CHECKING, Any

from basin.errors import UsageError
from basin.files import read_object, write_atomically
from sweeps.storage.address import is_database, show_address
from sweeps.storage.identity import NAME, ensure_identity, read_identity
from sweeps.storage.store import Row, Store, superseded_keys
from sweeps.tracking.connection import connect_client, is_passing
from sweeps.tracking.dataset_inputs import dataset_input
from sweeps.tracking.ownership import OwnerError, agrees, check_experiment, check_runs
from sweeps.tracking.patience import repeated
from sweeps.tracking.relocation import artifact_folder, relocate_artifacts
from sweeps.tracking.run_record import CONTENT, RunRecord, make_record
from sweeps.tracking.sql import SUPERSEDED, Database, LoggedRun
from sweeps.tracking.sweep_run import PARENT, open_sweep_run
from sweeps.tracking.tags import experiment_tags, is_verdict
from sweeps.tracking.uri import require_store, sqlite_file, unknown_sweep_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000
"""MLflow's limit of metrics, parameters and tags per request."""

USER = "mlflow.user"
"""Tag from which MLflow shows who wrote a run."""


@dataclass(frozen=True)
class Tracker:
    """The MLflow experiment of one sweep."""

    client: "MlflowClient"
    experiment: str
    """MLflow's id of the experiment."""
    adopt: bool = False
    """Supersede runs with other contents than the tables, whoever wrote them."""
    parent: str = ""
    """Id of the run of the sweep, under which those of its trials are nested; empty where nothing is written."""

    @classmethod
    def open_experiment(cls, uri: str, store: Store, *, adopt: bool = False) -> "Tracker":
        """Open the experiment named like the sweep; create it if absent, restore it if deleted.

        Raises OwnerError if it belongs to another sweep, unless `adopt` takes it over.
        """
        client, identity = connect_client(uri), ensure_identity(store)
        experiment = client.get_experiment_by_name(store.name)
        tags = {NAME: identity} if identity else {}
        if experiment is None:
            artifacts = artifact_folder(uri, store)

            def create() -> str:  # looked up: the response to a first request may have been lost
                known = client.get_experiment_by_name(store.name)
                where = artifacts.as_uri() if artifacts else None
                return str(known.experiment_id if known else client.create_experiment(store.name, where, tags))

            tracker = cls(client, repeated(lambda error: is_passing(uri, error), create), adopt)
            return replace(tracker, parent=open_sweep_run(tracker, store))
        tracker = cls(client, experiment.experiment_id, adopt)
        if not adopt:
            check_experiment(store, uri, experiment.tags, tracker.logged_runs())
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        relocate_artifacts(uri, experiment.experiment_id, experiment.artifact_location, store)
        for name, value in tags.items():
            if experiment.tags.get(name) != value:
                client.set_experiment_tag(experiment.experiment_id, name, value)
        return replace(tracker, parent=open_sweep_run(tracker, store))

    @classmethod
    def find_experiment(cls, uri: str, name: str) -> "Tracker":
        """Open the experiment of a sweep; raises UsageError if there is none, and creates no store."""
        require_store(uri)
        client = connect_client(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            raise unknown_sweep_error(name, uri, [other.name for other in client.search_experiments()])
        return cls(client, experiment.experiment_id)

    @property
    def creation_tags(self) -> dict[str, str]:
        """Tags of a new run that no table knows."""
        return {USER: _user_name()}

    @property
    def nesting_tags(self) -> dict[str, str]:
        """Tags that nest a run under the run of the sweep."""
        return {PARENT: self.parent} if self.parent else {}

    def is_passing(self, error: Exception) -> bool:
        """Tell whether a failed request may succeed if it is repeated."""
        return is_passing(self.client.tracking_uri, error)

    def list_runs(self, *, deleted: bool = False) -> Iterator[Any]:
        """Yield all runs, oldest first, a page at a time; those that were deleted only on request."""
        from mlflow.entities import ViewType

        token, view = None, ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        while True:
            page = self.client.search_runs(
                [self.experiment],
                run_view_type=view,
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def read_tags(self) -> dict[str, str]:
        """Tags of the experiment."""
        return dict(self.client.get_experiment(self.experiment).tags)

    def update_tags(self, store: Store) -> list[str]:
        """Set the experiment's tags from the sweep's folder; return the names of those that differed."""
        wanted, current = experiment_tags(store), self.read_tags()
        changed = [name for name, value in wanted.items() if current.get(name) != value]
        for name in changed:
            self.client.set_experiment_tag(self.experiment, name, wanted[name])
        obsolete = [name for name in current if is_verdict(name) and name not in wanted]
        for name in obsolete:
            self.client.delete_experiment_tag(self.experiment, name)
        return changed + obsolete

    def retire_set_aside(self, store: Store) -> None:
        """Supersede the runs of rows that were set aside: their trials are measured again under new keys."""
        versions = superseded_keys(store)
        if versions:
            for key, runs in self.logged_runs().items():
                for run in runs if key in versions else ():
                    self.supersede_run(run.run_id, f"the version after {versions[key]}")

    def end_open_runs(self, keys: Iterable[str], status: str) -> None:
        """End the runs of trials that do not run and have no results; of several runs of a trial one stays live."""
        for key in keys:
            runs = self.runs_of(key)
            kept = next((run for run in runs if not run.is_pending), next(iter(runs), None))
            for run in runs:
                if kept is not None and run.is_pending and run is not kept:
                    self.supersede_run(run.run_id, kept.run_id)
                elif run.is_open:
                    self.client.set_terminated(run.run_id, status)

    def supersede_run(self, run_id: str, by: str) -> None:
        """End a run as KILLED and name what replaces it; nothing of it is deleted."""
        self.client.update_run(run_id, status="KILLED")
        self.client.set_tag(run_id, SUPERSEDED, by)

    def log_missing(self, store: Store, keys: Iterable[str] | None = None) -> int:
        """Log the finished trials that MLflow lacks; return their number."""
        self.retire_set_aside(store)
        return sum(self.settle_runs(store, key, runs) for key, runs in self.unsettled_runs(store, keys).items())

    def unsettled_runs(self, store: Store, keys: Iterable[str] | None = None) -> dict[str, list[LoggedRun]]:
        """Key of each finished trial without exactly one complete run → its runs."""
        return find_unsettled(store, self.logged_runs(), keys)

    def logged_runs(self) -> dict[str, list[LoggedRun]]:
        """Trial key → its live runs, oldest first: one, unless the response to a request was lost."""
        uri = self.client.tracking_uri
        if is_database(uri):
            return Database(uri).runs_by_key(self.experiment)
        logged: dict[str, list[LoggedRun]] = {}
        for run in self.list_runs():
            if "key" in run.data.tags and SUPERSEDED not in run.data.tags:
                logged.setdefault(run.data.tags["key"], []).append(_summarize(run))
        return logged

    def runs_of(self, key: str) -> list[LoggedRun]:
        """Live runs of one trial, oldest first: there are some if its row was lost."""
        found = self.client.search_runs(
            [self.experiment], f"tags.key = '{key}'", order_by=["attributes.start_time ASC"]
        )
        return [_summarize(run) for run in found if SUPERSEDED not in run.data.tags]

    def settle_runs(self, store: Store, key: str, runs: list[LoggedRun]) -> bool:
        """Leave exactly one live run of a trial, a complete one; return whether anything was logged.

        A run with other contents is from an earlier execution of the trial, whose row was lost. MLflow cannot change
        its metrics, so it is superseded. Raises OwnerError if this folder has not lost that row.
        """
        row = store.row(key)
        if row is None:
            return False
        if not self.adopt:
            self._check_runs(store, row, runs)
        current, pending = [run for run in runs if agrees(row, run)], [run for run in runs if run.is_pending]
        kept = next((run for run in current if run.is_complete), next(iter(current + pending), None))
        if kept is not None and kept.is_complete:
            run_id, logged = kept.run_id, False
        else:
            if kept is not None and kept.status != "RUNNING":
                self.client.update_run(kept.run_id, status="RUNNING")  # or it would look complete before it is
            run_id, logged = self.write_run(make_record(store, row), kept.run_id if kept else None), True
        for run in runs:
            if run is not kept:
                self.supersede_run(run.run_id, run_id)
        return logged

    def _check_runs(self, store: Store, row: Row, runs: list[LoggedRun]) -> None:
        """Raise OwnerError if another sweep has results for a trial; ours is then no longer shown as running."""
        try:
            check_runs(store, row, runs)
        except OwnerError:
            self.end_open_runs([row["key"]], "KILLED")
            raise

    def write_run(self, record: RunRecord, run_id: str | None) -> str:
        """Write a trial's run, or complete an existing one; return its id. Writing it again changes nothing."""
        from mlflow.entities import Metric, Param, RunTag

        tags: list[RunTag] = []
        if run_id is None:
            run_id = self.create_run(record.key, record.began, record.tags | record.labels)
        else:
            tags = [RunTag(*pair) for pair in (record.tags | self.nesting_tags).items()]
        params, points = [Param(*pair) for pair in record.params.items()], [Metric(*point) for point in record.points]
        first = BATCH - len(params) - len(tags)
        self.client.log_batch(run_id, params=params, tags=tags, metrics=points[:first])
        for start in range(first, len(points), BATCH):
            self.client.log_batch(run_id, metrics=points[start : start + BATCH])
        self.log_dataset(record, run_id)
        for folder, file in record.files.items():
            self.client.log_artifact(run_id, str(file), folder)
        self.client.set_terminated(run_id, record.status, record.ended)
        return run_id

    def log_dataset(self, record: RunRecord, run_id: str) -> None:
        """Add the dataset to the inputs of a run; one that it has already is not added again."""
        if record.dataset:
            self.client.log_inputs(run_id, datasets=[dataset_input(record.dataset)])

    def create_run(self, key: str, began: int, tags: Mapping[str, str]) -> str:
        """Create the run of a trial that began then (ms since 1970).

        Where the response is lost, look for the run before creating another.
        """
        tags, tried = {**self.creation_tags, **tags, **self.nesting_tags, "key": key}, False

        def create() -> str:
            nonlocal tried
            earlier = self.runs_of(key) if tried else []
            tried = True
            for run in earlier:
                if run.start == began and not run.is_complete:
                    return run.run_id
            made = self.client.create_run(self.experiment, start_time=began, tags=tags)
            return str(made.info.run_id)

        return repeated(self.is_passing, create)


def _user_name() -> str:
    """Name of the user whose program writes; a container may not know it."""
    try:
        return getuser()
    except (OSError, KeyError):
        return "unknown"


def _summarize(run: Any) -> LoggedRun:
    return LoggedRun(run.info.run_id, run.info.status, run.info.start_time, run.data.tags.get("content", ""))


def find_unsettled(
    store: Store, logged: Mapping[str, list[LoggedRun]], keys: Iterable[str] | None = None
) -> dict[str, list[LoggedRun]]:
    """Key of each finished trial, or of these, without exactly one live run that is complete and its own → its runs."""
    wanted, unsettled = None if keys is None else set(keys), {}
    for row in store.rows(CONTENT):
        runs = logged.get(row["key"], [])
        settled = len(runs) == 1 and runs[0].is_complete and agrees(row, runs[0])
        if (wanted is None or row["key"] in wanted) and not settled:
            unsettled[row["key"]] = runs
    return unsettled


def find_open(store: Store, logged: Mapping[str, list[LoggedRun]]) -> list[str]:
    """Keys of trials without a row that MLflow shows as running."""
    finished = set(store.keys())
    return sorted(key for key in logged.keys() - finished if any(run.is_open for run in logged[key]))


def write_tracked(store: Store, uri: str) -> None:
    """Record which trials MLflow has: if the row of one is missing later, its trial may run again."""
    write_atomically(
        store.folder / "tracked.json", json.dumps({"uri": show_address(uri), "keys": store.keys()}, allow_nan=False)
    )


def find_lost(store: Store) -> list[str]:
    """Keys of trials that MLflow had and whose rows are missing now."""
    known = read_object(store.folder / "tracked.json").get("keys", [])
    return sorted(set(known) - set(store.keys()) - superseded_keys(store).keys())


def is_tracked(store: Store, uri: str) -> bool:
    """Tell whether MLflow has every trial and shows none that runs, if no launcher runs.

    Asked without MLflow's slow import; False for a server, which only MLflow can ask.
    """
    file = sqlite_file(uri)
    if not is_database(uri) or (file and not file.exists()):
        return False
    try:
        database = Database(uri)
        experiment = database.list_experiments().get(store.name)
        if experiment is None:
            return False
        tags, wanted = database.experiment_tags(experiment), experiment_tags(store)
        current = tags.get(NAME) == read_identity(store) and wanted.items() <= tags.items()
        logged = database.runs_by_key(experiment)
        current = current and database.sweep_statuses(experiment) in (["FINISHED"], ["FAILED"])
        return current and not find_unsettled(store, logged) and not find_open(store, logged)
    except UsageError:  # the upload reports it
        return False
