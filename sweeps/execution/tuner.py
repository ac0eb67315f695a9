"""Ray and Tune: a cluster, and one Tuner for all trials. What Tune writes is disposable."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from basin.environment import Place
from basin.errors import UsageError
from basin.files import Remote
from basin.plugins import check_plugins
from basin.provenance import collect_provenance
from sweeps.events import Listener
from sweeps.execution.early_stopping import RankStopping
from sweeps.execution.options import Options
from sweeps.execution.preemption import make_preemptible
from sweeps.execution.recovering import RecoveringScheduler, is_given_back
from sweeps.execution.session import open_session
from sweeps.execution.signals import HaltedError, catch_signals, check_stop, halting, postponed
from sweeps.execution.worker import Worker, run_job
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.compact import RowCollector
from sweeps.storage.integrity import remove_leftovers
from sweeps.storage.journal_parts import JournalUploader
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Row, Store
from sweeps.study.job import Job
from sweeps.study.study import Study

RESTARTS = 100
"""Lost processes allowed per trial: ends trials that cannot start, which the retry budget does not count."""


def describe_unassigned_gpus(resources: Mapping[str, float], options: Options, concurrency: int) -> str | None:
    """Warn that trials which request no GPU all use the first one of their node; None if there is nothing to warn of.

    A warning and no error: on one GPU small networks run well so.
    """
    gpus = resources.get("GPU", 0)
    if not gpus or options.gpus_per_trial or options.machine.device == "cpu":
        return None
    return (
        f"--gpus-per-trial 0: the cluster has {gpus:g} GPUs, and up to {concurrency} trials will share the first GPU "
        "of their node, without limits on its memory; give --gpus-per-trial 1 (or a share such as 0.25), or "
        "--set device=cpu"
    )


class Pool:
    """A Ray cluster for the duration of a sweep."""

    def __init__(self, study: Study, store: Store, place: Place, options: Options, listener: Listener) -> None:
        self._worker = Worker(study, store, place, collect_provenance(), options.deadline)
        self._options = options
        self._listener = listener
        self.errors: list[str] = []
        """First line of each failed trial's error."""

    def __enter__(self) -> "Pool":
        with ExitStack() as opening:
            self.concurrency = opening.enter_context(open_session(self._options))
            if warning := describe_unassigned_gpus(ray.cluster_resources(), self._options, self.concurrency):
                self._listener.note(warning)
            self._session = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def fit(self, search: ResumableSearch, most: int) -> None:
        """Run the searcher's jobs, at most this many; processes are reused from trial to trial."""
        folder = self._worker.store.folder / "tune"
        resources = {"cpu": self._options.cpus_per_trial, "gpu": self._options.gpus_per_trial}
        stopping = self._worker.study.scheduler
        scheduler = RankStopping(self._worker, search) if stopping else RecoveringScheduler(search)
        tuner = tune.Tuner(
            tune.with_resources(make_preemptible(tune.with_parameters(run_job, worker=self._worker)), resources),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=most,
                max_concurrent_trials=self.concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=f"trials-{int(time.time())}",
                storage_path=str(folder),
                callbacks=[
                    PluginImport(self._worker.facts.get("plugins", "")),
                    StopCheck(),
                    FileSync(self._worker.store, self._worker.place.remote),
                    Announcer(self._listener),
                ],
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                verbose=0,
            ),
        )
        try:
            with postponed():
                results = tuner.fit()
        except HaltedError as halted:
            raise UsageError(str(halted.error)) from halted.error  # not the same object, which would be its own context
        failed = [str(error).strip().splitlines()[-1] for error in results.errors]
        ends = [results[index].metrics or {} for index in range(len(results))]
        failed += [str(end["error"]) for end in ends if end.get("status") == "failed"]
        self.errors += failed
        if not failed:
            remove_leftovers(self._worker.store, self._worker.place.runs)  # of Tune and of lost processes


class PluginImport(tune.Callback):
    """Imports the launcher's plugins where Tune's loop runs: through Ray's client, in a process of the cluster."""

    def __init__(self, described: str) -> None:
        self._described = described

    def setup(self, *settings: Any, **info: Any) -> None:
        """Import them before the searcher makes the first trial."""
        check_plugins(self._described)


class StopCheck(tune.Callback):
    """Ends the sweep between two steps of Tune's loop, of which there are ten a second, after a signal."""

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Raise Stopped after a signal; Tune's own handler for SIGUSR1 would end the sweep as if it were done."""
        if iteration == 0:
            catch_signals()
        check_stop()


class FileSync(tune.Callback):
    """Uploads the searcher's journal before each trial; downloads and collects the rows of finished trials."""

    def __init__(self, store: Store, remote: Remote) -> None:
        self._store, self._remote = store, remote
        self._journal = JournalUploader(remote, store.journal)
        self._collector = RowCollector(store.folder)

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Upload what is new of the journal: the trial begins after this returns."""
        with halting():
            self._journal.send()

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Download the tables, which another machine may have written, and add the row to the compact file."""
        if key := (trial.last_result or {}).get("key"):
            with halting():
                for table in SCHEMAS:
                    self._remote.fetch(self._store.table_path(table, key))
                self._collector.count_trial()


class Announcer(tune.Callback):
    """Forwards starts, reports and ends of trials to a listener."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Forward a trial that starts."""
        if self._listener:
            self._listener.begin(trial.config["job"].trial.flat() | _describe_job(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Forward a report during training."""
        if self._listener:
            self._listener.report(_describe_job(trial) | result)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Forward a finished trial."""
        if self._listener:
            self._listener.advance(_describe_job(trial) | (trial.last_result or {}))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Forward a failed trial, or say that it is run again."""
        if self._listener:
            key = _describe_job(trial)["key"]
            if is_given_back(trial):
                self._listener.note(f"trial {key}: its process was lost before it began; it is run again")
            else:
                lines = str(trial.get_error() or "its process was lost").strip().splitlines()
                self._listener.fail(key, lines[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the listener: a terminal cannot be sent to another process."""
        return Announcer, (None,)


def _describe_job(trial: TuneTrial) -> Row:
    job: Job = trial.config["job"]
    flat = job.trial.flat()
    names = ("dataset", "model", "construction", "epochs", "seed")
    return {
        "key": job.key,
        "role": job.role,
        "configuration": job.configuration,
        **{name: flat[name] for name in names},
    }
