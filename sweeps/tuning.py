"""Ray and Tune: a cluster, and one Tuner for all trials; what Tune writes is thrown away after it."""

import gc
import json
import logging
import os
import socket
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from basin.errors import UsageError
from basin.files import Remote
from basin.place import Place
from sweeps.checking import tidy
from sweeps.options import Listener, Options
from sweeps.preemption import preemptible
from sweeps.provenance import provenance
from sweeps.scheduler import RankStopping
from sweeps.schemas import SCHEMAS
from sweeps.search import LedgerSearch
from sweeps.stopping import HaltedError, halting
from sweeps.store import Store
from sweeps.study import Study
from sweeps.trainable import Worker, trainable

RESTARTS = 100
"""Processes of one trial that may be lost. `attempts` ends what gets nowhere; this ends what cannot even begin."""


def knock(address: str) -> None:
    """Raise OSError if nothing listens at an address: Ray itself tries for half a minute, or for ever."""
    if address not in ("local", "auto"):
        host, _, port = address.removeprefix("ray://").partition(":")
        socket.create_connection((host, int(port or 10001)), timeout=10).close()


def _in_job_with_code() -> bool:
    """Whether we are a job of `ray job submit --working-dir`: its code is with all its workers already."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return "working_dir" in (job.get("runtime_env") or {})


class Pool:
    """A Ray cluster for the time of a sweep."""

    def __init__(self, study: Study, store: Store, place: Place, options: Options, listener: Listener) -> None:
        self._worker = Worker(study, store, place, provenance(), options.deadline)
        self._options = options
        self._listener = listener
        self.errors: list[str] = []
        """First lines of what went wrong in trials."""

    def __enter__(self) -> "Pool":
        # Under `uv run` a hook would start every worker through uv; the environment is there already.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
        logging.getLogger("ray").setLevel(logging.ERROR)
        for name in ("ray.tune", "ray.air"):  # why a trial failed is said at the end, in a line
            logging.getLogger(name).setLevel(logging.CRITICAL)
        address = self._options.address
        more: dict[str, Any] = {}
        if address == "local":
            more = {"include_dashboard": False}
        elif not _in_job_with_code():
            # Workers import us on other machines: the code travels there, without what git ignores.
            more = {"runtime_env": {"working_dir": str(Path(__file__).resolve().parents[1])}}
        try:
            knock(address)
            with warnings.catch_warnings(action="ignore"):  # Ray's client warns of what it then raises
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **more
                )
        except (OSError, ValueError, RuntimeError) as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"--address {address}: expected a Ray cluster that answers, got {words}; "
                "start one with `ray up` or `ray start --head`, or use --address local"
            ) from error
        try:
            self.concurrency = self._slots()
        except UsageError:
            ray.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Handles of Ray's in cycles: collected by another thread while Ray goes, they would end this process.
        gc.collect()
        ray.shutdown()

    def _slots(self) -> int:
        """Trials that the cluster has room for at once; what is asked for where the cluster can still grow."""
        there, options = ray.cluster_resources(), self._options
        if options.concurrency and options.address != "local":
            return options.concurrency
        asked = {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
        # Ray counts in ten-thousandths; 1 // 0.1 is 9 in floating point.
        slots = [int(round(1e4 * there.get(name, 0)) // round(1e4 * each)) for name, each in asked.items() if each]
        room = min(slots, default=0)
        if room < 1:
            raise UsageError(
                f"a trial asks for {options.cpus_per_trial:g} CPUs and {options.gpus_per_trial:g} GPUs, "
                f"the cluster has {there.get('CPU', 0):g} and {there.get('GPU', 0):g}: ask for less"
            )
        return min(room, options.concurrency or room)

    def fit(self, search: LedgerSearch, most: int) -> None:
        """Run what the searcher hands out, so many trials at most; their processes are kept from trial to trial."""
        folder = self._worker.store.folder / "tune"
        resources = {"cpu": self._options.cpus_per_trial, "gpu": self._options.gpus_per_trial}
        tuner = tune.Tuner(
            tune.with_resources(preemptible(tune.with_parameters(trainable, worker=self._worker)), resources),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=RankStopping(self._worker) if self._worker.study.scheduler else None,
                num_samples=most,
                max_concurrent_trials=self.concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=f"trials-{int(time.time())}",
                storage_path=str(folder),
                callbacks=[Carrier(self._worker.store, self._worker.place.remote), Announcer(self._listener)],
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                verbose=0,
            ),
        )
        try:
            results = tuner.fit()
        except HaltedError as halted:
            raise UsageError(str(halted.error)) from halted.error  # raised itself, it would be its own context
        failed = [str(error).strip().splitlines()[-1] for error in results.errors]
        ends = [results[index].metrics or {} for index in range(len(results))]
        failed += [str(end["error"]) for end in ends if end.get("status") == "failed"]
        self.errors += failed
        if not failed:
            tidy(self._worker.store, self._worker.place.runs)  # of Tune, and of processes that were lost


class Carrier(tune.Callback):
    """Takes the searcher's journal to the storage before a trial that it names begins, and brings a trial's tables."""

    def __init__(self, store: Store, remote: Remote) -> None:
        self._store, self._remote = store, remote

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """One trial begins when this has returned."""
        with halting():
            self._remote.send(self._store.journal)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """One trial is done, perhaps on another machine."""
        if key := (trial.last_result or {}).get("key"):
            with halting():
                for table in SCHEMAS:
                    self._remote.fetch(self._store.path(table, key))


class Announcer(tune.Callback):
    """Passes on what the driver sees."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """One trial is done."""
        if self._listener:
            self._listener.advance({**trial.config, **(trial.last_result or {})})

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """One trial has failed."""
        if self._listener:
            self._listener.advance()

    def __reduce__(self) -> tuple[Any, ...]:
        """A terminal does not travel: elsewhere nobody listens."""
        return Announcer, (None,)
