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

from basin.errors import UsageError
from sweeps.search.feedback import warm_start
from sweeps.search.journal import open_study
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.store import Store
from sweeps.study.manifest import update_manifest
from sweeps.study.objectives import BASIN, capped_merit, parse_limits, seed_verdict
from sweeps.study.study import Study
from tests.support.tiny_sweep import put, row_of, study

PAIR = ("accuracy", "q_bar")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def loaded(store: Store) -> optuna.Study:
    """As anybody reads the journal, optuna-dashboard too."""
    storage = JournalStorage(JournalFileBackend(str(store.folder / "optuna.journal")))
    return optuna.load_study(study_name=store.name, storage=storage)


def told(store: Store) -> list[optuna.trial.FrozenTrial]:
    return loaded(store).get_trials()


def done(**scores: float) -> dict[str, Any]:
    return {"val_accuracy": 90.0, "val_q_bar_reset": -1.0, BASIN: 1.5, "status": "done", **scores}


def search(chosen: Study, store: Store, trials: int = 2) -> ResumableSearch:
    return ResumableSearch(chosen, store, [], trials=trials, seed=0)


def test_a_plain_optuna_opens_the_study(store: Store) -> None:
    chosen = study().with_aim(metrics=PAIR)
    searcher = search(chosen, store, trials=3)
    configs = [searcher.suggest(name) for name in "abc"]
    searcher.on_trial_complete("a", done(val_accuracy=91.0))
    searcher.on_trial_complete("b", None, error=True)
    trials = told(store)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert trials[0].values == [91.0, -1.0]
    for trial, config in zip(trials, configs, strict=True):
        assert config
        job = config["job"]
        assert trial.params == {name: value for name, value in job.changes.items() if name != "seed"}
        assert trial.user_attrs["key"] == chosen.resolve_trial(job.changes).key == job.key
        assert trial.user_attrs["changes"] == job.changes
    assert [trial.user_attrs.get("status") for trial in trials] == ["done", "failed", None]
    assert [trial.user_attrs.get("feasible") for trial in trials] == [True, None, None]
    assert loaded(store).metric_names == ["val_accuracy", "val_q_bar_reset"]


def test_a_continued_study_gets_the_names_of_its_objectives_once(store: Store) -> None:
    chosen = study().with_aim(metrics=PAIR)
    storage = JournalStorage(JournalFileBackend(str(store.journal)))
    optuna.create_study(storage=storage, study_name=store.name, directions=["maximize", "maximize"])
    open_study(store.journal, chosen, 0)
    assert loaded(store).metric_names == ["val_accuracy", "val_q_bar_reset"]
    open_study(store.journal, chosen, 0)
    assert store.journal.read_text().count("metric_names") == 1


def test_an_optuna_without_names_continues(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    search(study(), store).suggest("a")
    monkeypatch.delattr(optuna.Study, "set_metric_names")
    monkeypatch.delattr(optuna.Study, "metric_names")
    assert search(study(), store).suggest("b")
    assert len(told(store)) == 1


# replicates


def test_the_sampler_is_told_the_mean_over_seeds(store: Store) -> None:
    chosen = study().with_aim(metrics=PAIR, replicates=3)
    searcher = search(chosen, store)
    assert searcher.left == 6
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert first
    assert second
    assert searcher.suggest("c") is None  # what is next depends on the two under way
    searcher.on_trial_complete("a", done(val_accuracy=90.0))
    others = [searcher.suggest(name) for name in "cd"]
    assert others == [{"job": chosen.make_job("replicate", {**first["job"].changes, "seed": seed})} for seed in (1, 2)]
    assert told(store)[0].state is TrialState.RUNNING
    searcher.on_trial_complete("d", done(val_accuracy=93.0, val_q_bar_reset=-4.0))
    searcher.on_trial_complete("c", done(val_accuracy=96.0))
    assert told(store)[0].values == [93.0, -2.0]
    searcher.on_trial_complete("b", {"status": "diverged"})
    assert searcher.suggest("e") == Searcher.FINISHED  # the other seeds of what diverged are not run
    assert [trial.state for trial in told(store)] == [TrialState.COMPLETE, TrialState.FAIL]


def test_a_configuration_cut_off_between_its_seeds_goes_on(store: Store) -> None:
    chosen = study().with_aim(metrics=PAIR, replicates=3)
    killed = search(chosen, store, trials=1)
    first = killed.suggest("a")
    assert first
    put(store, row_of(chosen, first["job"].changes, val_accuracy=90.0))
    put(store, row_of(chosen, {**first["job"].changes, "seed": 2}, val_accuracy=92.0, role="replicate"))
    again = search(chosen, store, trials=1)
    assert again.left == 1
    assert again.suggest("b") == {"job": chosen.make_job("replicate", {**first["job"].changes, "seed": 1})}
    again.on_trial_complete("b", done(val_accuracy=97.0))
    assert again.suggest("c") == Searcher.FINISHED
    assert [trial.values for trial in told(store)] == [[93.0, -1.0]]


def test_a_seed_that_failed_is_run_again_by_the_next_launch(store: Store) -> None:
    chosen = study().with_aim(replicates=2)
    searcher = search(chosen, store, trials=1)
    first = searcher.suggest("a")
    assert first
    put(store, row_of(chosen, first["job"].changes))
    searcher.on_trial_complete("a", done())
    other = searcher.suggest("b")
    searcher.on_trial_complete("b", None, error=True)
    assert [trial.state for trial in told(store)] == [TrialState.FAIL]
    assert search(chosen, store, trials=1).suggest("a") == other


# constraints


def test_constraints_are_told(store: Store) -> None:
    chosen = study().with_aim(constraints=["q_bar >= -2", "val/ece <= 5"], margin=1.0)
    searcher = search(chosen, store)
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("a", done(val_nll=0.2, val_q_bar_reset=-5.0, val_ece=4.0))
    searcher.on_trial_complete("b", done(val_nll=0.2))  # a missing score cannot be shown to satisfy its limit
    first, second = told(store)
    limits = ["val_q_bar_reset >= -2", "val_ece <= 5", "val_basin_upper_reset <= 1"]
    assert first.constraints == pytest.approx(dict(zip(limits, (3.0, -1.0, 0.5), strict=True)))
    assert second.constraints == pytest.approx(dict(zip(limits, (-1.0, 1.0, 0.5), strict=True)))


def test_the_default_aim_is_nll_within_one_basin(store: Store) -> None:
    chosen = study()
    assert (chosen.objectives, chosen.signs, chosen.margin) == (("val_nll",), (-1,), 2.0)
    searcher = search(chosen, store, trials=3)
    for name in "abc":
        searcher.suggest(name)
    searcher.on_trial_complete("a", done(val_nll=0.3))
    searcher.on_trial_complete("b", done(val_nll=0.1, **{BASIN: 12.0}))
    searcher.on_trial_complete("c", {"status": "done", "val_nll": 0.2, "members": 1})  # a single network has no paths
    trials = told(store)
    assert [trial.values for trial in trials] == [[0.3], [0.1], [0.2]]
    assert [trial.constraints for trial in trials] == [{f"{BASIN} <= 2": excess} for excess in (-0.5, 10.0, -2.0)]


def test_q_bar_above_0_is_no_merit(store: Store) -> None:
    """The mean over the seeds is clipped, not each seed's."""
    searcher = search(study().with_aim(metrics=PAIR, replicates=2), store)
    searcher.suggest("a")
    searcher.suggest("b")
    for first, second, name, other in ((3.0, -4.0, "a", "c"), (0.5, 0.5, "b", "d")):
        searcher.on_trial_complete(name, done(val_q_bar_reset=first))
        searcher.suggest(other)
        searcher.on_trial_complete(other, done(val_q_bar_reset=second))
    assert [trial.values for trial in told(store)] == [[90.0, -0.5], [90.0, 0.0]]
    assert [
        capped_merit(name, 3.0) for name in ("val_q_bar_interp", "val_q_mid_reset", "val_hull_gap_reset", "val_nll")
    ] == [*(0.0, 0.0, 3.0, 3.0)]


def test_columns_that_follow_from_the_limits() -> None:
    chosen = study().with_aim(constraints=["ece <= 5"])
    row = {"members": 4, "val_ece": 4.0, BASIN: 1.9, "val_basin_lower_reset": -1.0}
    row |= {"test_basin_upper_reset": 9.0, "test_basin_lower_reset": 2.1}
    expected = {"margin": 2.0, "verdict_val": "yes", "verdict_test": "no", "feasible": True}
    assert chosen.verdict_columns(row) == expected
    assert chosen.verdict_columns({**row, "val_ece": 6.0}) == expected | {"feasible": False}
    assert chosen.verdict_columns({**row, BASIN: 2.1}) == expected | {"feasible": False, "verdict_val": "undecided"}
    bare = {"members": 4, "val_ece": 4.0}
    nothing = {"margin": 2.0, "verdict_val": None, "verdict_test": None}
    assert chosen.verdict_columns(bare) == nothing | {"feasible": True}  # nothing is known of its basin
    assert study().verdict_columns(bare) == nothing | {"feasible": None}
    assert study().verdict_columns({"members": 1}) == nothing | {"feasible": True}
    assert seed_verdict(row, "test", 10.0) == "yes"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q_bar > -2", "--constraint q_bar > -2: expected a score, >= or <=, and a number"),
        ("q_bar >= low", "expected a score, >= or <=, and a number"),
        ("test_accuracy >= 3", "unknown --constraint score of validation 'test_accuracy': did you mean 'accuracy'"),
        ("__import__('os') >= 3", "expected a score, >= or <=, and a number"),
    ],
)
def test_a_constraint_that_is_none(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_limits([text])
    assert words in str(refused.value)


# one objective


def test_one_objective_has_its_own_direction(store: Store) -> None:
    for name, metric, value, direction in (("low", "val/nll", 0.3, "MINIMIZE"), ("high", "accuracy", 91.0, "MAXIMIZE")):
        own = Store(store.folder.parent / name)
        own.folder.mkdir()
        searcher = search(study().with_aim(metrics=[metric]), own)
        searcher.suggest("a")
        searcher.on_trial_complete("a", done(val_nll=0.3, val_accuracy=91.0))
        storage = JournalStorage(JournalFileBackend(str(own.folder / "optuna.journal")))
        plain = optuna.load_study(study_name=name, storage=storage)
        assert plain.direction is optuna.study.StudyDirection[direction]
        assert plain.best_value == value


@pytest.mark.parametrize(
    ("aim", "words"),
    [
        (
            {"metrics": ["test_accuracy"]},
            "unknown --metric score of validation 'test_accuracy': did you mean 'accuracy'",
        ),
        ({"scheduler": "hyperband"}, "unknown scheduler 'hyperband': expected one of asha, moasha"),
        ({"metrics": ["nll", "nll"]}, "--metric nll, nll: expected one objective, or two different ones"),
        ({"metrics": ["nll", "ece", "accuracy"]}, "expected one objective, or two different ones"),
        ({"scheduler": "asha", "metrics": PAIR}, "--scheduler asha: expected one objective, got val_accuracy, val_q_b"),
        ({"scheduler": "moasha"}, "--scheduler moasha: expected two objectives, got val_nll: give two, such as"),
        ({"scheduler": "asha", "metrics": ["hull_gap"]}, "expected a metric that is measured during training"),
    ],
)
def test_an_aim_that_is_none(aim: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        study().with_aim(**aim)
    assert words in str(refused.value)


def test_another_aim_is_another_sweep(store: Store) -> None:
    update_manifest(store, study(), 0)
    aims: list[dict[str, Any]] = [{"replicates": 2}, {"metrics": PAIR}, {"margin": 3.0}, {"constraints": ["ece <= 5"]}]
    for aim in (*aims, {"scheduler": "asha"}):
        with pytest.raises(UsageError, match=r"same settings.*another --name"):
            update_manifest(store, study().with_aim(**aim), 0)


def test_schedulers_take_their_number_of_objectives() -> None:
    assert study().with_aim(scheduler="asha").scheduler == "asha"  # NLL is measured while ensembles grow
    assert study().with_aim(scheduler="moasha", metrics=PAIR).objectives == ("val_accuracy", "val_q_bar_reset")
    likelihood = study().with_aim(metrics=["calibrated_log_likelihood"])
    assert (likelihood.objectives, likelihood.signs) == (("val_calibrated_log_likelihood",), (1,))


# warm start


def test_rows_of_another_sweep_are_complete_trials_and_none_of_this(store: Store, tmp_path: Path) -> None:
    chosen = study(temperature="2").with_aim(metrics=PAIR, constraints=["q_bar >= -2"])
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
    known = len(opened.get_trials())
    assert warm_start(opened, chosen, earlier) == 1  # repeated with the command
    assert len(opened.get_trials()) == known
    (trial,) = told(store)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [88.0, -3.0])
    assert trial.params == {"construction": "constrained", "t": 0.1, "beta": 1.0}
    assert trial.user_attrs == {"warm": rows[0]["key"], "from": "earlier"}
    assert trial.constraints == {"val_q_bar_reset >= -2": 1.0, "val_basin_upper_reset <= 2": -1.0}
    searcher = search(chosen, store, trials=2)
    assert searcher.left == 2
    drawn = [searcher.suggest(name) for name in "ab"]
    assert None not in drawn
    assert searcher.suggest("c") is None
    for name in "ab":
        searcher.on_trial_complete(name, done(val_accuracy=90.0))
    assert searcher.suggest("c") == Searcher.FINISHED


def test_a_sampler_learns_from_a_warm_start(store: Store, tmp_path: Path) -> None:
    """TPE draws at random until it knows ten trials: with these it models from the first one on."""
    chosen = study(construction="constrained").with_size(None, "tpe")
    earlier = Store(tmp_path / "earlier")
    earlier.folder.mkdir()
    for number in range(90):
        t = 0.005 * 100 ** (number / 89)
        point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}
        near = -abs(math.log(t / 0.05))
        put(earlier, row_of(chosen, point, val_nll=-near))
    warm_start(open_study(store.folder / "optuna.journal", chosen, 0), chosen, earlier)
    searcher = search(chosen, store, trials=24)
    drawn = [searcher.suggest(str(number)) for number in range(24)]
    near = [abs(math.log(float(str(config["job"].changes["t"])) / 0.05)) for config in drawn if config]
    assert sum(near) / len(near) < 0.9  # of uniform draws it is 1.2 ± 0.14


def test_a_warm_start_from_nothing_is_counted_as_such(store: Store, tmp_path: Path) -> None:
    """The launcher says so: of a sweep without trials, and of one whose trials lie in no space of this search."""
    chosen, nothing = study(), Store(tmp_path / "nothing")
    opened = open_study(store.folder / "optuna.journal", chosen, 0)
    assert warm_start(opened, chosen, nothing) == 0
    put(nothing, row_of(chosen, {"construction": "deep", "seed": 0}))
    assert len(nothing.rows()) == 1
    assert warm_start(opened, chosen, nothing) == 0
    assert opened.get_trials() == []
