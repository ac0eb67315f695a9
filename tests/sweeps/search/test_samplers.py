"""Samplers: every name runs a search of two objectives; grid and random are known before any trial has been run."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from basin.errors import UsageError
from basin.spec import Search
from sweeps.search.indexed import axis_values, grid_point
from sweeps.search.journal import open_study
from sweeps.search.samplers import SAMPLERS, make_sampler
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.store import Store
from sweeps.study.study import Study
from tests.support.tiny_sweep import put, row_of, study

NAMES = ("gp", "grid", "nsga2", "random", "tpe")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def drained(chosen: Study, store: Store, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """What is handed out, each told objectives that depend on the point."""
    search = ResumableSearch(chosen, store, [], trials=trials, seed=seed)
    found = []
    while (config := search.suggest(str(len(found)))) != Searcher.FINISHED:
        assert config is not None
        changes = config["job"].changes
        t, beta = changes["t"], changes["beta"]
        scores = {"val_accuracy": 90 - t, "val_q_bar_reset": -beta, "val_nll": t, "val_basin_upper_reset": 3 - beta}
        put(store, row_of(chosen, changes, **scores))
        search.on_trial_complete(str(len(found)), {**scores, "status": "done"})
        found.append(changes)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_searches_two_objectives(name: str, store: Store) -> None:
    chosen = study(construction="constrained").with_size(None, name).with_aim(metrics=("accuracy", "q_bar"))
    points = drained(chosen, store, 14)  # past the start-up trials of those that learn
    assert len({(point["t"], point["beta"]) for point in points}) == 14
    told = open_study(store.folder / "optuna.journal", chosen, 0).get_trials()
    assert {trial.state for trial in told if "duplicate" not in trial.user_attrs} == {TrialState.COMPLETE}


@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_searches_one_objective_and_choices(name: str, store: Store) -> None:
    chosen = study(construction="constrained").with_size(None, name).search_also(["constraint", "lr"])
    points = drained(chosen, store, 14)
    assert len({str(point) for point in points}) == 14
    assert len({point["constraint"] for point in points}) > 1
    assert len({point["lr"] for point in points}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_draws_from_spaces_of_several_constructions(name: str, store: Store) -> None:
    points = drained(study().with_size(None, name), store, 13)
    assert {point["construction"] for point in points} == {"constrained", "distilled"}


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown sampler 'cma': expected one of gp, grid, nsga2, random, tpe"):
        make_sampler("cma", 0, study().space)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.indexed])
def test_a_configuration_depends_on_seed_and_number_alone(name: str, tmp_path: Path) -> None:
    """However often the sweep is continued, and whatever other sweeps had told it first."""
    chosen, stores = (
        study().with_size(None, name),
        [Store(tmp_path / text) for text in ("whole", "parts", "warm", "other")],
    )
    for store in stores:
        store.folder.mkdir()
    whole = drained(chosen, stores[0], 12)
    assert [point for count in (1, 5, 12) for point in drained(chosen, stores[1], count)] == whole
    opened = open_study(stores[2].folder / "optuna.journal", chosen, 0)
    for number in range(3):
        opened.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"warm": str(number)}))
    assert drained(chosen, stores[2], 12) == whole
    assert drained(chosen, stores[3], 12, seed=1) != [{**point, "seed": 1} for point in whole]


def test_the_grid_is_complete_before_it_is_refined() -> None:
    space = study(construction="constrained").space
    points = [grid_point(space, "constrained", 0, index) for index in range(25)]
    t, beta = (Search(0.005, 0.5, log=True), Search(1e-2, 10, log=True))
    middle = (math.sqrt(t.low * t.high), math.sqrt(beta.low * beta.high))  # log: the geometric mean
    coarse = {(point["t"], point["beta"]) for point in points[:9]}
    assert len(coarse) == 9
    assert sorted({x for x, _ in coarse}) == pytest.approx([t.low, middle[0], t.high])
    assert sorted({y for _, y in coarse}) == pytest.approx([beta.low, middle[1], beta.high])
    fine = Counter((point["t"], point["beta"]) for point in points)
    assert len(fine) == 25  # 5 × 5, none twice
    assert {point["t"] for point in points} == set(axis_values(space.fields("constrained")[0], 4))
    other = [grid_point(space, "constrained", 1, index) for index in range(25)]
    assert other[:9] != points[:9]  # another order
    assert {tuple(p.items()) for p in other[:9]} == {tuple(p.items()) for p in points[:9]}  # of the same points


def test_a_grid_without_fields_has_one_point() -> None:

    only = study(construction="constrained", t="0.1", beta="1").with_size(None, "grid")
    assert grid_point(only.space, "constrained", 0, 7) == {}
