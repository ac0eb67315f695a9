"""What a search aims at: replicates, constraints, one objective, and what other sweeps have found."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher
from tiny_sweep import put, row_of, study

from basin.errors import UsageError
from sweeps.aims import Constraint
from sweeps.best import best
from sweeps.definition import hold
from sweeps.reading import Run
from sweeps.search import LedgerSearch, open_study
from sweeps.store import Store
from sweeps.study import Study
from sweeps.sweep import replicates
from sweeps.telling import warm_start


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def told(store: Store) -> list[optuna.trial.FrozenTrial]:
    """As anybody reads the journal, optuna-dashboard too."""
    storage = JournalStorage(JournalFileBackend(str(store.folder / "optuna.journal")))
    return optuna.load_study(study_name=store.name, storage=storage).get_trials()


def done(**scores: float) -> dict[str, Any]:
    return {"val_accuracy": 90.0, "val_q_bar_reset": -1.0, "status": "done", **scores}


def search(chosen: Study, store: Store, trials: int = 2) -> LedgerSearch:
    return LedgerSearch(chosen, store, [], trials=trials, seed=0)


def test_a_plain_optuna_opens_the_study(store: Store) -> None:
    chosen = study()
    searcher = search(chosen, store, trials=3)
    configs = [searcher.suggest(name) for name in "abc"]
    searcher.on_trial_complete("a", done(val_accuracy=91.0))
    searcher.on_trial_complete("b", None, error=True)
    trials = told(store)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert trials[0].values == [91.0, -1.0]
    for trial, config in zip(trials, configs, strict=True):
        assert config
        assert trial.params == {name: value for name, value in config["changes"].items() if name != "seed"}
        assert trial.user_attrs["key"] == chosen.trial(config["changes"]).key
        assert trial.user_attrs["changes"] == config["changes"]


# replicates


def test_the_sampler_is_told_the_mean_over_seeds(store: Store) -> None:
    searcher = search(study().seeking(replicates=3), store)
    assert searcher.left == 6
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert first
    assert second
    assert searcher.suggest("c") is None  # what is next depends on the two under way
    searcher.on_trial_complete("a", done(val_accuracy=90.0))
    others = [searcher.suggest(name) for name in "cd"]
    assert others == [{"role": "replicate", "changes": {**first["changes"], "seed": seed}} for seed in (1, 2)]
    assert told(store)[0].state is TrialState.RUNNING
    searcher.on_trial_complete("d", done(val_accuracy=93.0, val_q_bar_reset=-4.0))
    searcher.on_trial_complete("c", done(val_accuracy=96.0))
    assert told(store)[0].values == [93.0, -2.0]
    searcher.on_trial_complete("b", {"status": "diverged"})
    assert searcher.suggest("e") == Searcher.FINISHED  # the other seeds of what diverged are not run
    assert [trial.state for trial in told(store)] == [TrialState.COMPLETE, TrialState.FAIL]


def test_a_configuration_cut_off_between_its_seeds_goes_on(store: Store) -> None:
    chosen = study().seeking(replicates=3)
    killed = search(chosen, store, trials=1)
    first = killed.suggest("a")
    assert first
    put(store, row_of(chosen, first["changes"], val_accuracy=90.0))
    put(store, row_of(chosen, {**first["changes"], "seed": 2}, val_accuracy=92.0, role="replicate"))
    again = search(chosen, store, trials=1)
    assert again.left == 1
    assert again.suggest("b") == {"role": "replicate", "changes": {**first["changes"], "seed": 1}}
    again.on_trial_complete("b", done(val_accuracy=97.0))
    assert again.suggest("c") == Searcher.FINISHED
    assert [trial.values for trial in told(store)] == [[93.0, -1.0]]


def test_a_seed_that_failed_is_run_again_by_the_next_launch(store: Store) -> None:
    chosen = study().seeking(replicates=2)
    searcher = search(chosen, store, trials=1)
    first = searcher.suggest("a")
    assert first
    put(store, row_of(chosen, first["changes"]))
    searcher.on_trial_complete("a", done())
    other = searcher.suggest("b")
    searcher.on_trial_complete("b", None, error=True)
    assert [trial.state for trial in told(store)] == [TrialState.FAIL]
    assert search(chosen, store, trials=1).suggest("a") == other


def test_the_chosen_configuration_is_so_in_the_mean(store: Store) -> None:
    chosen = study().seeking(replicates=2)
    for t, scores in ((0.1, (95.0, 81.0)), (0.2, (92.0, 90.0))):
        for seed, accuracy in enumerate(scores):
            point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": seed}
            put(store, row_of(chosen, point, val_accuracy=accuracy, role="replicate" if seed else "search"))
    (owed,) = replicates(chosen, store, [0, 1, 2])  # the seed that is not there yet
    assert (owed["changes"]["t"], owed["changes"]["seed"]) == (0.2, 2)


# constraints


def test_constraints_are_told(store: Store) -> None:
    searcher = search(study().seeking(constraints=["q_bar >= -2", "val/nll <= 0.5"]), store)
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("a", done(val_q_bar_reset=-5.0, val_nll=0.4))
    searcher.on_trial_complete("b", done())  # a score that is not there cannot be seen to satisfy its limit
    first, second = told(store)
    limits = ["val_q_bar_reset >= -2", "val_nll <= 0.5"]
    assert first.constraints == pytest.approx(dict(zip(limits, (3.0, -0.1), strict=True)))
    assert second.constraints == pytest.approx(dict(zip(limits, (-1.0, 1.0), strict=True)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q_bar > -2", "--constraint q_bar > -2: expected a score, >= or <=, and a number"),
        ("q_bar >= low", "expected a score, >= or <=, and a number"),
        ("test_accuracy >= 3", "unknown --constraint score of validation 'test_accuracy': expected one of accuracy"),
        ("__import__('os') >= 3", "expected a score, >= or <=, and a number"),
    ],
)
def test_a_constraint_that_is_none(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        Constraint.parse(text)
    assert words in str(refused.value)


def test_best_leaves_out_what_violates_the_constraints() -> None:
    def run(key: str, accuracy: float, *, feasible: bool) -> Run:
        numbers = {"val_accuracy": accuracy, "val_q_bar_reset": -1.0}
        return Run(key, "search", "constrained", {}, numbers, key, feasible)

    runs = [run("a", 99.0, feasible=False), run("b", 90.0, feasible=True), run("c", 91.0, feasible=True)]
    assert [one.key for one in best(runs).front] == ["c"]
    assert best(runs).infeasible == 1
    assert [one.key for one in best(runs[:1]).front] == ["a"]  # all violate them: shown, and counted


def test_a_chosen_configuration_satisfies_the_constraints_if_any_does(store: Store) -> None:
    chosen = study().seeking(constraints=["nll <= 0.5"])
    for t, accuracy, nll in ((0.1, 95.0, 0.9), (0.2, 91.0, 0.4)):
        point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}
        put(store, row_of(chosen, point, val_accuracy=accuracy, val_nll=nll))
    assert {config["changes"]["t"] for config in replicates(chosen, store, [0, 1])} == {0.2}


# one objective


def test_one_objective_has_its_own_direction(store: Store) -> None:
    chosen = study().seeking(metric="val/nll")
    searcher = search(chosen, store)
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"val_nll": 0.3, "status": "done"})
    storage = JournalStorage(JournalFileBackend(str(store.folder / "optuna.journal")))
    plain = optuna.load_study(study_name="demo", storage=storage)
    assert plain.direction is optuna.study.StudyDirection.MINIMIZE
    assert plain.best_value == 0.3
    for t, nll in ((0.1, 0.9), (0.2, 0.4)):
        point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}
        put(store, row_of(chosen, point, val_nll=nll))
    assert {config["changes"]["t"] for config in replicates(chosen, store, [0, 1])} == {0.2}


@pytest.mark.parametrize(
    ("aim", "words"),
    [
        ({"metric": "test_accuracy"}, "unknown --metric score of validation 'test_accuracy': expected one of accuracy"),
        ({"scheduler": "hyperband"}, "unknown scheduler 'hyperband': expected one of asha, moasha"),
        ({"scheduler": "asha"}, "--scheduler asha: expected 1 objectives, got val_accuracy, val_q_bar_reset"),
        ({"scheduler": "moasha", "metric": "nll"}, "--scheduler moasha: expected 2 objectives, got val_nll"),
        ({"scheduler": "asha", "metric": "hull_gap"}, "expected a metric that is measured while an ensemble grows"),
    ],
)
def test_an_aim_that_is_none(aim: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        study().seeking(**aim)  # type: ignore[arg-type]
    assert words in str(refused.value)


def test_another_aim_is_another_sweep(store: Store) -> None:
    hold(store, study(), 0)
    for aim in ({"replicates": 2}, {"metric": "nll"}, {"constraints": ["q_bar >= -2"]}, {"scheduler": "moasha"}):
        with pytest.raises(UsageError, match="give the same settings to go on, or another --name"):
            hold(store, study().seeking(**aim), 0)  # type: ignore[arg-type]


# warm start


def test_rows_of_another_sweep_are_complete_trials_and_none_of_this(store: Store, tmp_path: Path) -> None:
    chosen = study(temperature="2").seeking(constraints=["q_bar >= -2"])
    earlier = Store(tmp_path / "earlier")
    earlier.folder.mkdir()
    inside = {"construction": "constrained", "t": 0.1, "beta": 1.0, "seed": 0}
    rows = [
        row_of(chosen, inside, val_accuracy=88.0, val_q_bar_reset=-3.0),
        row_of(chosen, {**inside, "t": 0.9}),  # beyond the range of t
        row_of(chosen, {**inside, "t": 0.2}, status="diverged"),
        row_of(chosen, {**inside, "t": 0.3}, val_accuracy=math.nan),
        row_of(chosen, {"construction": "deep", "seed": 0}),
        row_of(study(temperature="3"), {"construction": "distilled", "t": 0.1, "beta": 1.0, "weight": 0.5, "seed": 0}),
    ]
    for row in rows:
        put(earlier, row)
    opened = open_study(store.folder / "optuna.journal", chosen, 0)
    assert warm_start(opened, chosen, earlier) == 1
    assert warm_start(opened, chosen, earlier) == 0  # repeated with the command
    (trial,) = told(store)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [88.0, -3.0])
    assert trial.params == {"construction": "constrained", "t": 0.1, "beta": 1.0}
    assert trial.user_attrs == {"warm": rows[0]["key"], "from": "earlier"}
    assert trial.constraints == {"val_q_bar_reset >= -2": 1.0}
    searcher = search(chosen, store, trials=2)
    assert searcher.left == 2
    drawn = [searcher.suggest(name) for name in "ab"]
    assert None not in drawn
    assert searcher.suggest("c") == Searcher.FINISHED


def test_a_sampler_learns_from_a_warm_start(store: Store, tmp_path: Path) -> None:
    """TPE draws at random until it knows ten trials: with these it models from the first one on."""
    chosen = study(construction="constrained").sized(None, "tpe")
    earlier = Store(tmp_path / "earlier")
    earlier.folder.mkdir()
    for number in range(30):
        t = 0.005 * 100 ** (number / 29)
        point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}
        near = -abs(math.log(t / 0.05))
        put(earlier, row_of(chosen, point, val_accuracy=90 + near, val_q_bar_reset=near))
    warm_start(open_study(store.folder / "optuna.journal", chosen, 0), chosen, earlier)
    searcher = search(chosen, store, trials=8)
    drawn = [searcher.suggest(str(number)) for number in range(8)]
    near = [abs(math.log(config["changes"]["t"] / 0.05)) for config in drawn if config]
    assert sum(near) / len(near) < 0.8  # of uniform draws it is 1.2
