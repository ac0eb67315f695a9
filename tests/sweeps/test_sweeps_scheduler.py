"""Early stopping: the order against a slow oracle, what stops, what is recorded, and that nothing is run again."""

import random
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from objects import serving
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from tiny_sweep import launch, sweep_arguments, works

from sweeps.best import ask
from sweeps.reading import open_reader
from sweeps.scheduler import ETA, RUNGS, Rungs, crowding, dominates, ranked
from sweeps.store import Store
from sweeps.tracking import Tracker, default_uri


def test_one_objective_is_sorted_by_it() -> None:
    draws = random.Random(0)
    points = {str(number): (draws.random(),) for number in range(40)}
    assert ranked(points) == sorted(points, key=lambda key: points[key], reverse=True)


def test_fronts_come_in_order_and_ends_first_within_one() -> None:
    """Front by front as counted by hand: a point's front is the longest chain of points that dominate one another."""
    draws = random.Random(1)
    points = {str(number): (draws.randint(0, 6), draws.random()) for number in range(60)}

    @cache
    def depth(key: str) -> int:
        above = [depth(other) for other in points if dominates(points[other], points[key])]
        return 1 + max(above, default=-1)

    order = ranked(points)
    assert sorted(order) == sorted(points)
    depths = [depth(key) for key in order]
    assert depths == sorted(depths)
    first = [points[key] for key in order if depth(key) == 0]
    assert max(first, key=lambda point: point[0]) in first[:2]
    assert max(first, key=lambda point: point[1]) in first[:2]


def test_crowding_by_hand() -> None:
    assert crowding([(0.0, 4.0), (1.0, 3.0), (4.0, 0.0)]) == [float("inf"), 1.0 + 1.0, float("inf")]
    assert crowding([(0.0, 8.0), (1.0, 6.0), (2.0, 4.0), (8.0, 0.0)])[1:3] == pytest.approx([0.25 + 0.5, 0.875 + 0.75])


def test_one_in_eta_goes_on() -> None:
    worse, better, mixed = Rungs(), Rungs(), Rungs()
    assert [worse.goes_on(str(n), RUNGS[0], (-float(n),)) for n in range(30)] == [True] + [False] * 29
    assert all(better.goes_on(str(n), RUNGS[0], (float(n),)) for n in range(30))  # each is the best so far
    draws = random.Random(2)
    kept = sum(mixed.goes_on(str(n), RUNGS[0], (draws.random(), draws.random())) for n in range(300))
    assert 300 / ETA * 0.75 < kept < 300 / ETA * 1.25


def test_a_trial_is_compared_once_at_each_rung() -> None:
    rungs = Rungs()
    assert rungs.goes_on("a", 0.05, (1.0,))  # before the first rung nobody is compared
    assert not rungs.reached[RUNGS[0]]
    assert rungs.goes_on("a", RUNGS[0], (1.0,))
    assert rungs.goes_on("a", RUNGS[0] + 0.1, (-9.0,))
    assert not rungs.goes_on("b", RUNGS[0], (0.0,))
    assert rungs.goes_on("c", RUNGS[1], (0.0,))  # a long trunk: its first report is past the second rung
    assert list(rungs.reached[RUNGS[1]]) == ["c"]
    assert "c" not in rungs.reached[RUNGS[0]]


def opened(store: Store) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(store.folder / "optuna.journal")))
    return optuna.load_study(study_name=store.name, storage=storage)


@pytest.fixture(scope="module", params=["moasha", "asha"])
def stopped(request: Any, tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Iterator[tuple[Store, Any]]:
    """A sweep in which some trials are stopped, and the command that ran it; one of two is on an S3 server."""
    storage = tmp_path_factory.mktemp(request.param)
    small = {"model": "mlp", "hidden": "8", "width": None, "epochs": "9"}
    aim = ["--scheduler", request.param, "--trials", "12"]
    if request.param == "asha":
        arguments = sweep_arguments(storage, image_cache, *aim, "--metric", "val/accuracy", **small)
        works(launch(*arguments))
        yield Store(storage / "quickstart"), arguments
        return
    with serving() as objects:
        uri, copy = objects.uri("results"), ["--storage", str(storage)]
        arguments = sweep_arguments(uri, tmp_path_factory.mktemp("host"), *aim, **small)
        works(launch(*arguments))
        assert not objects.there("results/quickstart/scratch")
        works(launch("fetch", "quickstart", "--storage", uri, "--to", str(storage)))
        works(launch("sync", "quickstart", *copy))
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
            assert (
                trials[key].value == trials[key].intermediate_values[history[-1]["step"]] == history[-1]["val_accuracy"]
            )
        else:
            assert trials[key].values is None
        assert not store.scratch(key).exists()
        assert not (store.folder / "weights" / f"{key}.safetensors").exists()
    assert not {trial.user_attrs["key"] for trial in (opened(store).best_trials)} & early.keys()
    others = [row for row in store.rows() if row["role"] != "search"]
    assert {row["status"] for row in others} == {"done"}  # references and replicates are never stopped


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_best_never_chooses_a_stopped_trial(stopped: tuple[Store, Any]) -> None:
    store, _ = stopped
    early = {row["key"] for row in store.rows() if row["status"] == "stopped"}
    tracker = Tracker.existing(default_uri(store.folder.parent), "quickstart")
    assert {run.data.tags["key"] for run in tracker.runs() if run.info.status == "KILLED"} == early
    answer = ask(open_reader(default_uri(store.folder.parent), "quickstart"), x="q_bar_reset", y="accuracy")
    shown = [*answer.front, *(run for row in answer.floors.values() for run in row.values() if run)]
    assert shown
    assert not {run.key for run in shown} & early


@pytest.mark.slow
def test_the_command_again_runs_nothing(stopped: tuple[Store, Any]) -> None:
    store, arguments = stopped
    before = store.keys()
    began = time.time()
    assert works(launch(*arguments)).startswith(f"sweep quickstart: 0 trials run now, {len(before)} in ")
    assert store.keys() == before
    assert all(row["finished_at"].timestamp() < began for row in store.rows())
