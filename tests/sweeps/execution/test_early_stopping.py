"""Early stopping: decisions against a slow reference, what stops, what is recorded, and that nothing is run again."""

import math
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from stats.growing_fronts import Scores
from sweeps.execution.early_stopping import ETA, RUNGS, Rungs
from sweeps.queries.best import find_best
from sweeps.storage.store import Store
from sweeps.tracking.reader import open_reader
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri
from tests.stats.test_growing_fronts import COORDINATE, rank_of_last
from tests.support.object_stores import serving
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, sweep_arguments, works


def test_one_in_eta_goes_on() -> None:
    worse, better, mixed = Rungs(), Rungs(), Rungs()
    assert [worse.continues(str(n), RUNGS[0], (-float(n),)) for n in range(30)] == [True] + [False] * 29
    assert all(better.continues(str(n), RUNGS[0], (float(n),)) for n in range(30))  # each is the best so far
    draws = random.Random(2)
    kept = sum(mixed.continues(str(n), RUNGS[0], (draws.random(), draws.random())) for n in range(300))
    assert 300 / ETA * 0.75 < kept < 300 / ETA * 1.25


def test_those_beyond_the_margin_come_after_all_others() -> None:
    rungs = Rungs()
    seen = [("a", 9.0, 5.0), ("b", 1.0, -0.5), ("c", 2.0, 0.0), ("d", 9.9, 0.1), ("e", 0.5, -9.0), ("f", 1.5, 7.0)]
    went = {key: rungs.continues(key, RUNGS[0], (merit,), beyond) for key, merit, beyond in seen}
    # The first always goes on; then the best third of those seen: b beats a, c beats b, d is third, e is third, f last.
    assert went == {"a": True, "b": True, "c": True, "d": False, "e": False, "f": False}
    assert rungs.continues("g", RUNGS[0], (3.0,), -2.0)


def test_a_trial_is_compared_once_at_each_rung() -> None:
    rungs = Rungs()
    assert rungs.continues("a", 0.05, (1.0,))  # before the first rung nobody is compared
    assert not rungs.reached[RUNGS[0]].keys
    assert rungs.continues("a", RUNGS[0], (1.0,))
    assert rungs.continues("a", RUNGS[0] + 0.1, (-9.0,))
    assert not rungs.continues("b", RUNGS[0], (0.0,))
    assert rungs.continues("c", RUNGS[1], (0.0,))  # a long trunk: its first report is past the second rung
    assert rungs.reached[RUNGS[1]].keys == {"c"}
    assert "c" not in rungs.reached[RUNGS[0]].keys


class SlowRungs:
    """The rule of the module's text, word for word: every comparison sorts all trials of its rung."""

    def __init__(self) -> None:
        self.reached: dict[float, dict[str, tuple[float, Scores]]] = {rung: {} for rung in RUNGS}

    def continues(self, key: str, progress: float, point: Scores, beyond: float) -> bool:
        passed = [rung for rung in RUNGS if progress >= rung]
        if not passed or key in self.reached[max(passed)]:
            return True
        results = self.reached[max(passed)]
        results[key] = beyond, point
        if beyond <= 0:
            preceding = rank_of_last([point for distance, point in results.values() if distance <= 0])
        else:
            preceding = sum(
                distance <= 0 or (distance, other) < (beyond, key) for other, (distance, _) in results.items()
            )
        return preceding < max(1, len(results) / ETA)


REPORT = st.tuples(
    st.text("abcdefghijklmnop", min_size=1, max_size=1),
    st.sampled_from([0.0, 0.1, *RUNGS, 0.2, 0.5, 1.0]),
    st.tuples(COORDINATE, COORDINATE),
    st.sampled_from([-1.0, 0.0, 0.0, 0.5, 2.0, math.inf]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(REPORT, max_size=60), st.sampled_from([1, 2]))
def test_decisions_equal_those_of_sorting_all_trials_at_each_report(reports: list[Any], size: int) -> None:
    rungs, slow = Rungs(), SlowRungs()
    for key, progress, point, beyond in reports:
        report = key, progress, point[:size], beyond
        assert rungs.continues(*report) == slow.continues(*report)


def test_ten_thousand_trials_are_replayed_in_seconds() -> None:
    rungs, draws = Rungs(), random.Random(5)
    began = time.process_time()
    for number in range(10_000):
        for rung in RUNGS:
            rungs.continues(str(number), rung, (draws.random(), draws.random()), draws.uniform(-1, 0.5))
    assert time.process_time() - began < 10  # 1 s on an idle core; 25 minutes if each report sorts 1,000 trials


def opened(store: Store) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(store.folder / "optuna.journal")))
    return optuna.load_study(study_name=store.name, storage=storage)


@pytest.fixture(scope="module", params=["moasha", "asha"])
def stopped(
    request: Any, tmp_path_factory: pytest.TempPathFactory, image_cache: Path, shell: Command
) -> Iterator[tuple[Store, Any]]:
    """A sweep in which some trials are stopped, and the command that ran it; one of two is on an S3 server."""
    storage = tmp_path_factory.mktemp(request.param)
    small = {"model": "mlp", "hidden": "8", "width": None, "epochs": "9"}
    aim = ["--scheduler", request.param, "--trials", "12"]
    if request.param == "asha":
        arguments = sweep_arguments(storage, image_cache, *aim, **small)
        works(launch(*arguments))
        yield Store(storage / "quickstart"), arguments
        return
    with serving() as objects:
        uri, copy = objects.uri("results"), ["--storage", str(storage)]
        pair = ["--metric", "accuracy", "--metric", "q_bar"]
        arguments = sweep_arguments(uri, tmp_path_factory.mktemp("host"), *aim, *pair, **small)
        works(launch(*arguments))
        assert not objects.there("results/quickstart/scratch")
        shell("fetch", "quickstart", "--storage", uri, "--to", str(storage))
        shell("sync", "quickstart", *copy)
        yield Store(storage / "quickstart"), arguments


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_stopped_trials_are_recorded_and_never_complete(stopped: tuple[Store, Any]) -> None:
    store, _ = stopped
    rows = {row["key"]: row for row in store.rows() if row["role"] == "search"}
    assert len(rows) == 12
    early = {key: row for key, row in rows.items() if row["status"] == "stopped"}
    assert 3 <= len(early) < 12
    trials = {trial.user_attrs["key"]: trial for trial in opened(store).get_trials()}
    assert trials.keys() == rows.keys()
    single = len(opened(store).directions) == 1
    for key, row in rows.items():
        history = store.history(key)
        assert all(a["step"] < b["step"] for a, b in pairwise(history))
        if key not in early:
            assert trials[key].state is TrialState.COMPLETE
            assert history[-1]["progress"] == 1.0
            continue
        assert trials[key].state is TrialState.PRUNED
        assert row["passes"] == history[-1]["passes"]
        assert RUNGS[0] <= history[-1]["progress"] < 1
        scores = [name for name in row if name.startswith(("val_", "test_")) and name not in ("val_size", "test_size")]
        assert all(row[name] is None for name in scores)  # nothing that could be taken for a result
        if single:
            assert trials[key].value == trials[key].intermediate_values[history[-1]["step"]] == history[-1]["val_nll"]
        else:
            assert trials[key].values is None
        assert not store.scratch_path(key).exists()
        assert not store.weights_path(row["ensemble_key"]).exists()
    assert not {trial.user_attrs["key"] for trial in (opened(store).best_trials)} & early.keys()
    others = [row for row in store.rows() if row["role"] != "search"]
    assert {row["status"] for row in others} == {"done"}  # references and fresh seeds are never stopped


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_best_never_chooses_a_stopped_trial(stopped: tuple[Store, Any]) -> None:
    store, _ = stopped
    early = {row["key"] for row in store.rows() if row["status"] == "stopped"}
    tracker = Tracker.find_experiment(default_uri(store.folder.parent), "quickstart")
    assert {run.data.tags["key"] for run in tracker.list_runs() if run.info.status == "KILLED"} == early
    reader = open_reader(default_uri(store.folder.parent), "quickstart")
    for answer in (find_best(reader), find_best(reader, x="q_bar_reset", y="accuracy")):
        shown = [run for group in (*answer.listed, *answer.chosen) for run in group.runs]
        assert shown
        assert not {run.key for run in shown} & early


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_again_runs_nothing(stopped: tuple[Store, Any], shell: Command) -> None:
    store, arguments = stopped
    before = store.keys()
    began = time.time()
    assert shell(*arguments).startswith(f"sweep quickstart: 0 trials run now, {len(before)} in ")
    assert store.keys() == before
    assert all(row["finished_at"].timestamp() < began for row in store.rows())
