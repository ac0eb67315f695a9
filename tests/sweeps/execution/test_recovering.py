"""Trials whose process is lost when Tune hands them to it: run again in the same launch, told once, counted once."""

import os
import pickle
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.trainable.function_trainable import FunctionTrainable, get_session

from basin.environment import Machine, Place
from basin.trial import identify_data
from sweeps.execution import tuner
from sweeps.execution.early_stopping import RankStopping
from sweeps.execution.options import Options
from sweeps.execution.preemption import make_preemptible
from sweeps.execution.recovering import RecoveringScheduler, is_given_back
from sweeps.execution.worker import Worker
from sweeps.search.journal import open_study
from sweeps.search.replicates import fresh_jobs
from sweeps.search.searcher import ResumableSearch
from sweeps.status import Status
from sweeps.storage.store import Row, Store
from sweeps.sweep import sweep
from tests.support.disturbed import nothing_left_over, one_run_each
from tests.support.tiny_sweep import study


@pytest.fixture
def search(tmp_path: Path) -> ResumableSearch:
    (tmp_path / "demo").mkdir()
    return ResumableSearch(study(), Store(tmp_path / "demo"), [], trials=3, seed=0)


def schedulers(search: ResumableSearch, folder: Path) -> list[RecoveringScheduler]:
    """Every scheduler of a sweep."""
    worker = Worker(study(), Store(folder / "demo"), Place(machine=Machine(), runs=folder / "runs"))
    return [RecoveringScheduler(search), RankStopping(worker, search)]


def failed(status: str) -> Any:
    """A trial of Tune that got an error in this status; Tune reads the files that its metadata name."""
    names = SimpleNamespace(error_filename="error.txt", pickled_error_filename="error.pkl")
    return SimpleNamespace(
        trial_id="a", status=status, run_metadata=names, get_error=lambda: names.error_filename and "an error"
    )


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("status", "back"), [(TuneTrial.PENDING, True), (TuneTrial.RUNNING, False), (TuneTrial.ERROR, False)]
)
def test_only_a_trial_that_did_not_run_is_given_back(
    search: ResumableSearch, tmp_path: Path, which: int, status: str, back: bool
) -> None:
    """Tune queues one that ran again by itself (ERROR), and gives it up at the limit of its failures (RUNNING)."""
    given, trial = search.suggest("a"), failed(status)
    schedulers(search, tmp_path)[which].on_trial_error(None, trial)  # type: ignore[arg-type]
    assert is_given_back(trial) == back
    assert (search.suggest("b") == given) == back


def test_an_error_is_kept_where_the_searcher_takes_nothing_back(search: ResumableSearch, tmp_path: Path) -> None:
    trial = failed(TuneTrial.PENDING)
    for scheduler in schedulers(search, tmp_path):
        scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
    assert not is_given_back(trial)


def test_a_failure_whose_error_has_not_arrived_in_the_storage_is_still_a_failure(search: ResumableSearch) -> None:
    trial, said = failed(TuneTrial.RUNNING), list[tuple[str, ...]]()
    trial.get_error, trial.config = lambda: None, search.suggest("a")
    listener: Any = SimpleNamespace(note=lambda *words: said.append(words), fail=lambda *words: said.append(words))
    assert not is_given_back(trial)
    tuner.Announcer(listener).on_trial_error(0, [], trial)
    assert said == [(trial.config["job"].key, "its process was lost")]


def test_scheduler_and_searcher_stay_together_on_their_way_to_another_process(search: ResumableSearch) -> None:
    config = tune.TuneConfig(search_alg=search, scheduler=RecoveringScheduler(search))
    there = pickle.loads(cloudpickle.dumps(config))
    assert there.scheduler._search is there.search_alg


class Notes:
    """A display that keeps the messages and the failures."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.failed: list[str] = []

    def show(self, event: str, status: Status, result: Row | None = None, words: str = "") -> None:
        if event == "note":
            self.words.append(words)
        if event == "failed":
            self.failed.append(words)


FAULTS = {0: "killed", 2: "broken", 3: "busy"}
"""Number of a reset → what is wrong with the process."""


def faulty(function: Callable[..., None], folder: Path) -> type[Any]:
    """The trainable of a sweep, whose resets leave a file each; some meet a fault."""

    class Faulty(make_preemptible(function)):  # type: ignore[misc]
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            number = len(list(folder.iterdir()))
            (folder / str(number)).touch()
            fault = FAULTS.get(number)
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "broken":
                raise OSError("no space left for a log")
            if fault == "busy":  # with a trial that was stopped early
                get_session().training_thread = Thread(target=Event().wait, daemon=True)
                get_session().training_thread.start()
            return bool(super().reset_config(new_config))

    return Faulty


def test_a_process_that_is_busy_with_a_stopped_trial_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune waits two seconds for it, then gives up the next trial and tells neither the searcher nor a callback."""

    class Ended(BaseException):
        """Stands for the end of the process."""

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    made = make_preemptible(print)
    for idle in (True, False):
        monkeypatch.setattr(FunctionTrainable, "reset_config", lambda self, config, idle=idle: idle)
        with nullcontext() if idle else pytest.raises(Ended):
            assert made.reset_config(object.__new__(made), {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_trial_whose_process_is_lost_before_it_begins_is_run_again_in_the_same_launch(
    image_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owed trial and two searched ones; what runs on fresh seeds is chosen when these are done."""
    folder, notes = tmp_path / "resets", Notes()
    folder.mkdir()
    monkeypatch.setattr(tuner, "make_preemptible", lambda function: faulty(function, folder))
    options = Options(
        name="demo", storage=tmp_path / "storage", cache=image_cache, machine=Machine(device="cpu"), concurrency=1
    )
    chosen = study(construction="constrained", model="mlp", hidden="8", width=None)
    chosen = replace(chosen, base=identify_data(chosen.base, options.make_place()))
    report = sweep(chosen, options, notes)
    assert (report.errors, report.untracked, report.ran) == ([], None, 7)
    assert notes.failed == []
    assert len([words for words in notes.words if "run again" in words]) == len(FAULTS)
    assert len(list(folder.iterdir())) > max(FAULTS)
    told = open_study(report.store.journal, chosen, 0).get_trials()
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 3
    rows = report.store.rows()
    assert [row["role"] for row in rows].count("search") == 3
    fresh = {job.key for job in fresh_jobs(chosen, rows, 0)}
    assert fresh == {row["key"] for row in rows if row["role"] == "fresh"}
    one_run_each(report.store)
    nothing_left_over(report.store)
