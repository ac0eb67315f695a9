"""The searcher: owed trials, orphans of a killed launcher, an end to every trial, nothing twice, validation only."""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import Searcher

from basin.environment import Machine, Place
from basin.provenance import collect_provenance
from basin.trial import run
from sweeps.execution.worker import Worker, run_job
from sweeps.search.journal import open_study
from sweeps.search.samplers import make_sampler
from sweeps.search.searcher import MOST_REPEATS, RETURNS, TURNS, ResumableSearch
from sweeps.storage.store import Store
from sweeps.study.job import Job
from sweeps.study.study import Study
from tests.support.tiny_sweep import put, row_of, study
from tests.support.tiny_trial import run_until

Search = Callable[..., ResumableSearch]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


@pytest.fixture
def search(store: Store) -> Search:
    """Function that makes a searcher over the store: each is one more launch of the same sweep."""

    def make(*, owed: Any = (), trials: int = 3, chosen: Study | None = None) -> ResumableSearch:
        return ResumableSearch(chosen or study(), store, list(owed), trials=trials, seed=0)

    return make


def told(store: Store) -> list[optuna.trial.FrozenTrial]:
    """Every trial of the Optuna study, as the next launch reads it."""
    return open_study(store.folder / "optuna.journal", study(), 0).get_trials()


def done(**scores: float) -> dict[str, Any]:
    return {"val_nll": 0.3, "val_basin_upper_reset": 1.0, "status": "done", **scores}


def drain(searcher: ResumableSearch) -> list[Job]:
    """All that a searcher hands out, each written and told as done."""
    configs = []
    for number in range(1000):
        config = searcher.suggest(f"id{number}")
        if config == Searcher.FINISHED:
            return configs
        assert config is not None
        job = config["job"]
        configs.append(job)
        put(searcher._store, row_of(searcher._study, job.changes, finished_at=datetime.now(UTC)))
        searcher.on_trial_complete(f"id{number}", done())
    raise AssertionError("the searcher never finishes")


def test_owed_trials_come_first_then_as_many_as_were_asked_for(search: Search, store: Store) -> None:
    owed = [study().make_job("reference", {"construction": "deep", "seed": 1})]
    searcher = search(owed=owed)
    assert searcher.left == 4
    configs = drain(searcher)
    assert [job.role for job in configs] == ["reference", "search", "search", "search"]
    assert configs[0] == owed[0]
    assert len({job.key for job in configs}) == 4
    assert all(job.changes["seed"] == 0 for job in configs[1:])
    assert searcher.left == 0
    assert [trial.values for trial in told(store)] == [[0.3]] * 3  # owed trials are no points of the search


def test_constructions_take_turns_at_first(search: Search) -> None:
    both = list(study().space.constructions)
    assert len(both) == 2
    first = [job.changes["construction"] for job in drain(search(trials=3))]
    rest = [job.changes["construction"] for job in drain(search(trials=12))]
    assert [*first, *rest][:TURNS] == both * (TURNS // 2)


def test_a_turn_that_was_given_and_not_taken_is_no_trial(search: Search, store: Store) -> None:
    open_study(store.folder / "optuna.journal", study(), 0).enqueue_trial({"construction": "distilled"})
    configs = drain(search(trials=3))
    assert len(configs) == 3
    assert configs[0].changes["construction"] == "distilled"
    assert all(trial.state.is_finished() for trial in told(store))


def test_more_trials_extend_the_same_study(search: Search) -> None:
    first, more = drain(search(trials=2)), drain(search(trials=5))
    assert len(more) == 3
    assert first + more == drain_elsewhere(5)
    assert drain(search(trials=4)) == []


def handed_out(searcher: ResumableSearch, names: Iterable[str]) -> list[Job]:
    """The next jobs of a searcher."""
    configs = [searcher.suggest(name) for name in names]
    return [config["job"] for config in configs if config]


def drain_elsewhere(trials: int) -> list[Job]:
    """What an undisturbed search hands out."""
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(), directions=["minimize"])
    drawn.sampler = open_sampler()
    space = study().space
    for number in range(trials):
        drawn.enqueue_trial({"construction": space.constructions[number % len(space.constructions)]})
    return [study().make_job("search", {**space.draw(drawn.ask()), "seed": 0}) for _ in range(trials)]


def open_sampler() -> optuna.samplers.BaseSampler:
    return make_sampler("random", 0, study().space)


@pytest.mark.parametrize(
    "result",
    [
        done(val_nll=math.nan),
        done(val_nll=math.inf),
        {"val_accuracy": 90.0, "status": "done"},
        done(status="diverged"),
        {"status": "diverged", "key": "k"},
        {},
        None,
    ],
)
def test_a_trial_without_finite_objectives_fails(search: Search, store: Store, result: dict[str, Any] | None) -> None:
    searcher = search()
    searcher.suggest("a")
    searcher.on_trial_complete("a", result)
    (trial,) = told(store)
    assert trial.state is TrialState.FAIL


def test_a_trial_stopped_part_way_fails(search: Search, store: Store) -> None:
    searcher = search()
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"val_nll": 0.3, "passes": 3})  # no status
    assert [trial.state for trial in told(store)] == [TrialState.FAIL]


def test_an_error_fails_even_after_good_reports(search: Search, store: Store) -> None:
    searcher = search()
    searcher.suggest("a")
    searcher.on_trial_complete("a", done(), error=True)
    assert [trial.state for trial in told(store)] == [TrialState.FAIL]


def test_a_trial_that_failed_is_run_again_by_the_next_launch(search: Search, store: Store) -> None:
    searcher = search(trials=2)
    failed, finished = handed_out(searcher, "ab")
    put(store, row_of(study(), finished.changes))
    searcher.on_trial_complete("a", None, error=True)
    searcher.on_trial_complete("b", done())
    assert searcher.left == 0  # not in the same launch
    again = search(trials=2)
    assert again.left == 1
    assert drain(again) == [failed]


def test_a_trial_whose_process_was_lost_is_handed_out_next_and_told_once(search: Search, store: Store) -> None:
    owed = [study().make_job("reference", {"construction": "deep", "seed": 1})]
    searcher = search(owed=owed, trials=2)
    reference, first = handed_out(searcher, "ab")
    left = searcher.left
    assert searcher.take_back("b")
    assert searcher.take_back("a")
    assert searcher.left == left + 2
    searcher.on_trial_complete("b", None, error=True)  # Tune reports what was given back
    searcher.on_trial_complete("a", None, error=True)
    assert [trial.state for trial in told(store)] == [TrialState.RUNNING]
    assert handed_out(searcher, "cd") == [reference, first]
    searcher.on_trial_complete("d", done())
    assert [trial.state for trial in told(store)] == [TrialState.COMPLETE]
    assert len(handed_out(searcher, "ef")) == 1


def test_a_trial_is_taken_back_as_long_as_it_has_not_ended(search: Search) -> None:
    searcher = search(trials=2)
    first, second = handed_out(searcher, "ab")
    assert searcher.suggest("c") is None  # else Tune would ask no more
    searcher.on_trial_complete("a", done())
    assert searcher.suggest("c") is None
    assert not searcher.take_back("a")
    assert searcher.take_back("b")
    assert handed_out(searcher, "c") == [second]
    searcher.on_trial_complete("c", done())
    assert searcher.suggest("d") == Searcher.FINISHED
    assert first != second


def test_a_trial_whose_process_is_lost_again_and_again_fails(search: Search, store: Store) -> None:
    searcher = search(trials=1)
    for number in range(RETURNS):
        assert len(handed_out(searcher, [str(number)])) == 1
        assert searcher.take_back(str(number))
    assert len(handed_out(searcher, ["last"])) == 1
    assert not searcher.take_back("last")
    searcher.on_trial_complete("last", None, error=True)
    assert [trial.state for trial in told(store)] == [TrialState.FAIL]
    assert searcher.suggest("d") == Searcher.FINISHED


def test_final_trials_wait_for_one_that_was_taken_back(store: Store) -> None:
    last = [study().make_job("fresh", {"construction": "deep", "seed": 9})]
    searcher = ResumableSearch(study(), store, [], trials=1, seed=0, final_jobs=lambda: last)
    (job,) = handed_out(searcher, "a")
    assert searcher.take_back("a")
    searcher.on_trial_complete("a", None, error=True)
    assert handed_out(searcher, "bc") == [job]
    searcher.on_trial_complete("b", done())
    assert handed_out(searcher, "c") == last


def test_diverged_trials_are_not_run_again(search: Search, store: Store) -> None:
    searcher = search(trials=1)
    (job,) = handed_out(searcher, "a")
    put(store, {"key": job.key, "status": "diverged", "role": "search"})
    searcher.on_trial_complete("a", {"status": "diverged"})
    assert drain(search(trials=1)) == []


def test_orphans_are_adopted_under_their_number(search: Search, store: Store) -> None:
    killed = search()
    configs = handed_out(killed, "ab")
    assert [trial.state for trial in told(store)] == [TrialState.RUNNING] * 2
    again = search()
    assert again.left == 3
    assert drain(again)[:2] == configs
    assert [(trial.number, trial.state) for trial in told(store)] == [(n, TrialState.COMPLETE) for n in range(3)]
    assert [trial.params["t"] for trial in told(store)[:2]] == [job.changes["t"] for job in configs]


def test_results_in_the_store_are_told(search: Search, store: Store) -> None:
    killed = search()
    first, second, third = handed_out(killed, "abc")
    put(store, row_of(study(), first.changes, val_nll=0.7))
    put(store, row_of(study(), second.changes, status="diverged", val_nll=None))
    assert drain(search()) == [third]
    trials = told(store)
    assert trials[0].values == [0.7]  # validation, not test
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_a_trial_killed_before_it_was_named_is_drawn_again(search: Search, store: Store) -> None:
    chosen = study()
    opened = open_study(store.folder / "optuna.journal", chosen, 0)
    opened.enqueue_trial({"construction": chosen.space.constructions[0]})
    asked = opened.ask()
    asked.suggest_categorical("construction", chosen.space.constructions)  # killed here: no key, half the parameters
    assert drain(search(trials=2)) == drain_elsewhere(2)
    assert [trial.state for trial in told(store)] == [TrialState.COMPLETE] * 2


def test_owed_trials_are_not_drawn_again(search: Search) -> None:
    chosen = study(construction="deep")  # its only configuration is the reference's
    owed = [chosen.make_job("reference", {"construction": "deep", "seed": 0})]
    assert drain(search(owed=owed, chosen=chosen)) == owed


def test_exhausted_space_finishes(search: Search, store: Store) -> None:
    fixed = {"construction": "constrained", "t": "0.1", "beta": "1"}
    chosen = study(**fixed)
    configs = drain(search(trials=5, chosen=chosen))
    assert [job.changes for job in configs] == [{"construction": "constrained", "seed": 0}]
    states = [trial.state for trial in told(store)]
    assert states == [TrialState.COMPLETE] + [TrialState.FAIL] * MOST_REPEATS
    again = search(trials=5, chosen=chosen)
    assert again.left == 0  # a finished sweep run again returns at once
    assert drain(again) == []


def test_duplicates_are_skipped_and_not_counted(search: Search, store: Store) -> None:
    fixed = {"t": "0.1", "beta": "1", "temperature": "2", "weight": "0.5"}
    configs = drain(search(trials=2, chosen=study(**fixed)))
    assert sorted(str(job.changes["construction"]) for job in configs) == ["constrained", "distilled"]
    assert len([trial for trial in told(store) if trial.state is TrialState.COMPLETE]) == 2


def reported(monkeypatch: pytest.MonkeyPatch, worker: Worker, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """What a trial says to Tune; outside of a cluster, Tune's own function is replaced."""
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", reports.append)
    run_job({"job": worker.study.make_job("search", changes)}, worker)
    return reports


@pytest.fixture
def worker(store: Store, tmp_path: Path, image_cache: Path) -> Worker:
    threads = torch.get_num_threads()
    place = Place(machine=Machine(device="cpu", threads=threads), cache=image_cache, runs=tmp_path / "runs")
    return Worker(study(model="mlp", hidden="8", width=None), store, place, collect_provenance())


CHANGES = {"construction": "constrained", "seed": 0}


def test_a_trial_reports_validation_only(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    reports = reported(monkeypatch, worker, CHANGES)
    assert len(reports) == 3  # after each epoch, and the finished ensemble
    own = {"key", "status", "progress", "passes", "step", "seconds", "members"}
    for report in reports:
        assert {name for name in report if not name.startswith("val_")} <= own
        assert {"val_nll", "val_accuracy"} <= report.keys()
    key = worker.study.resolve_trial(CHANGES).key
    row = worker.store.row(key)
    assert row is not None
    assert any(name.startswith("test_") and value is not None for name, value in row.items())
    assert [reports[-1][name] for name in worker.study.objectives] == [row[name] for name in worker.study.objectives]
    assert (reports[-1]["key"], reports[-1]["status"]) == (key, "done")
    assert (row["role"], row["sweep"], row["commit"]) == ("search", "demo", worker.facts["commit"])
    assert row["configuration"] == worker.study.configuration_hash({**CHANGES, "seed": 5})  # any seed's
    assert row["margin"] == worker.study.margin
    upper, lower = (row[f"val_basin_{end}_reset"] for end in ("upper", "lower"))
    assert row["verdict_val"] == ("no" if lower > 2 else "yes" if upper < 2 else "undecided")
    assert row["feasible"] == (upper <= 2)


def test_a_stored_trial_is_reported_and_not_run_again(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    """Its process was lost before it had dropped its checkpoint."""
    first = reported(monkeypatch, worker, CHANGES)
    key = str(first[-1]["key"])
    path, scratch = worker.store.table_path("trials", key), worker.store.scratch_path(key)
    before = path.stat().st_mtime_ns
    scratch.mkdir(parents=True)
    (scratch / "state.safetensors").touch()
    assert reported(monkeypatch, worker, CHANGES) == first[-1:]
    assert path.stat().st_mtime_ns == before
    assert not scratch.exists()


def test_a_diverged_trial_is_a_row(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    wild = Worker(worker.study.with_settings({"lr": "1e30", "momentum": "0"}), worker.store, worker.place)
    (report,) = reported(monkeypatch, wild, CHANGES)
    assert report["status"] == "diverged"
    assert not any(name.startswith("val_") for name in report)
    row = worker.store.row(str(report["key"]))
    assert row is not None
    assert (row["status"], row["lr"], row["val_accuracy"], row["role"]) == ("diverged", 1e30, None, "search")
    assert not list((worker.store.folder / "weights").glob("*"))
    assert not list((worker.store.folder / "scratch").glob("*"))


def test_a_trial_cut_off_goes_on_from_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, tmp_path: Path
) -> None:
    trial = worker.study.resolve_trial(CHANGES)
    whole = run(trial, worker.place)
    scratch = worker.store.folder / "scratch" / trial.key
    # At the second report the checkpoint of the first epoch is written.
    assert len(run_until(trial, Place(**{**vars(worker.place), "scratch": scratch}), reports=2)) == 2
    assert list(scratch.iterdir())
    reported(monkeypatch, worker, CHANGES)
    row = worker.store.row(trial.key)
    assert row is not None
    scores = whole.measured.scores
    assert {name: row[name] for name in scores} == scores
    assert row["passes"] == whole.meter.passes
    assert worker.store.table("history", trial.key)["step"].to_pylist() == [p.index for p in whole.history]
    assert not scratch.exists()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_journal_whose_last_line_is_torn_goes_on(search: Search, store: Store, cut: int) -> None:
    search().suggest("a")
    journal = store.folder / "optuna.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    (store.folder / "optuna.journal.lock").symlink_to("optuna.journal")  # its launcher was killed
    assert drain(search()) == drain_elsewhere(3)
    assert drain(search()) == []
    assert not (store.folder / "optuna.journal.damaged").exists()


def test_a_damaged_journal_is_drawn_again_by_number(search: Search, store: Store) -> None:
    drain(search(trials=3))
    journal = store.folder / "optuna.journal"
    journal.write_bytes(journal.read_bytes().replace(b'"op_code"', b'"op_\xffode"', 3))
    assert drain(search(trials=5)) == drain_elsewhere(5)  # the rows of the first three are found by their workers
    assert b"\xff" in (store.folder / "optuna.journal.damaged").read_bytes()


def test_a_damaged_journal_of_a_sampler_that_learns_is_made_from_the_rows(search: Search, store: Store) -> None:
    chosen = study().with_size(4, "tpe")
    configs = drain(search(trials=4, chosen=chosen))
    (store.folder / "optuna.journal").write_bytes(b"garbage\nand more\n")
    again = search(trials=5, chosen=chosen)
    assert again.left == 1
    kept = open_study(store.folder / "optuna.journal", chosen, 0).get_trials()
    assert [trial.user_attrs["changes"] for trial in kept] == [job.changes for job in configs]
    assert [trial.values for trial in kept] == [[0.3]] * 4
    (fresh,) = drain(again)
    assert fresh not in configs


def test_rows_that_a_shortened_journal_lacks_are_told_to_a_sampler_that_learns(search: Search, store: Store) -> None:
    """As after the last part of a journal in an object store was lost."""
    chosen = study().with_size(4, "tpe")
    configs, journal = drain(search(trials=2, chosen=chosen)), store.folder / "optuna.journal"
    shorter = journal.read_bytes()
    configs += drain(search(trials=4, chosen=chosen))
    journal.write_bytes(shorter)
    again = search(trials=4, chosen=chosen)
    assert again.left == 0
    kept = open_study(journal, chosen, 0).get_trials()
    assert [trial.user_attrs["changes"] for trial in kept] == [job.changes for job in configs]
    assert [trial.values for trial in kept] == [[0.3]] * 4
    assert drain(again) == []


def count_readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of trials whenever all trials of a study are read."""
    readings, read = list[int](), optuna.Study.get_trials

    def counted(self: optuna.Study, **options: Any) -> list[optuna.trial.FrozenTrial]:
        found = read(self, **options)
        readings.append(len(found))
        return found

    monkeypatch.setattr(optuna.Study, "get_trials", counted)
    return readings


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_a_draw_reads_all_trials_once_for_all_its_parameters(
    monkeypatch: pytest.MonkeyPatch, search: Search, sampler: str
) -> None:
    chosen = study().with_size(TURNS + 5, sampler)
    searcher = search(trials=TURNS + 5, chosen=chosen)
    readings, jobs = count_readings(monkeypatch), 0
    while config := searcher.suggest(f"id{jobs}"):
        jobs += 1
        drawn = [name for name in config["job"].changes if name != "seed"]
        if jobs > TURNS:  # before, constructions take turns
            assert len(drawn) > 1 or sampler == "grid"
            assert len(readings) <= 1
        readings.clear()
    assert jobs == TURNS + 5


def test_a_launch_that_goes_on_reads_all_trials_a_fixed_number_of_times(
    monkeypatch: pytest.MonkeyPatch, search: Search
) -> None:
    drain(search(trials=3))
    readings = count_readings(monkeypatch)
    search(trials=3)
    few = len(readings)
    drain(search(trials=12))
    readings.clear()
    search(trials=12)
    assert len(readings) == few


def test_a_row_that_is_lost_is_run_again(search: Search, store: Store) -> None:
    configs = drain(search(trials=3))
    store.table_path("trials", configs[1].key).unlink()
    assert drain(search(trials=3)) == [configs[1]]


def test_what_comes_last_is_asked_for_once_when_all_else_is_done(store: Store) -> None:
    asked = []
    last = [study().make_job("fresh", {"construction": "deep", "seed": 9})]

    def final_jobs() -> list[Job]:
        asked.append(True)
        return last

    search = ResumableSearch(study(), store, [], trials=2, seed=0, final_jobs=final_jobs)
    assert None not in [search.suggest(name) for name in "ab"]
    assert search.suggest("c") is None
    search.on_trial_complete("a", error=True)
    assert search.suggest("c") is None
    assert not asked
    search.on_trial_complete("b", error=True)
    assert search.suggest("c") == {"job": last[0]}
    assert search.suggest("d") is None  # the last may be taken back
    search.on_trial_complete("c", error=True)
    assert search.suggest("d") == Searcher.FINISHED
    assert len(asked) == 1
