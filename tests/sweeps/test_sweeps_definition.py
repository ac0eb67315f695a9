"""What a sweep's folder holds: one study, which may grow; fields that are newer than the file are at their defaults."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import study

from basin.errors import UsageError
from sweeps.definition import definition, hold
from sweeps.store import Store
from sweeps.studies import build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def written(store: Store) -> Any:
    return json.loads((store.folder / "sweep.json").read_text())


def write(store: Store, held: Any) -> None:
    (store.folder / "sweep.json").write_text(json.dumps(held))


def test_the_same_study_goes_on(store: Store) -> None:
    hold(store, study(), 0)
    first = written(store)
    hold(store, study(), 0)
    hold(store, study().sized(50, None), 0)
    assert written(store) == first


@pytest.mark.parametrize("name", ["optimizer", "norm", "hull_points", "ood", "ood_hash"])
def test_a_field_that_is_newer_than_the_sweep_is_at_its_default(name: str, store: Store) -> None:
    older = definition(study(), 0)
    del older["base"][name]
    write(store, older)
    hold(store, study(), 0)
    assert name in written(store)["base"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("optimizer", "adamw", 'optimizer="sgd", got optimizer="adamw"'),
        ("norm", "layer", 'norm="batch", got norm="la'),
    ],
)
def test_a_newer_field_that_is_not_at_its_default_is_refused(name: str, value: str, words: str, store: Store) -> None:
    older = definition(study(), 0)
    del older["base"][name]
    write(store, older)
    with pytest.raises(UsageError, match=f"sweep 'demo' has {words}"):
        hold(store, study(**{name: value}), 0)
    assert written(store) == older


def test_a_value_that_comes_with_a_name_has_no_default(store: Store) -> None:
    older = definition(study(), 0)
    del older["base"]["depth"]
    write(store, older)
    with pytest.raises(UsageError, match="has depth=None, got depth=8: give the same settings to go on"):
        hold(store, study(), 0)


def test_a_sweep_without_a_list_of_its_grid_goes_on(store: Store) -> None:
    older = definition(study(), 0)
    del older["owed"]
    write(store, older)
    hold(store, study(), 0)
    assert len(written(store)["owed"]) == 3  # the deep ensembles of three seeds


def test_two_grids_do_not_share_a_folder(store: Store) -> None:
    first, second = build("time-parameter", None), build("constraint", None)
    assert {**definition(first, 0), "owed": 0} == {**definition(second, 0), "owed": 0}
    hold(store, first, 0)
    # β ∈ {0, 1} at t = 0, 0.05, 0.2 is in both grids, on three seeds.
    with pytest.raises(UsageError, match=r"^sweep 'demo' has 36 trials of a grid or references that this study does"):
        hold(store, second, 0)
    assert written(store)["owed"] == definition(first, 0)["owed"]


def test_a_grid_may_grow_and_not_shrink(store: Store) -> None:
    whole = build("ensemble-size", None)
    part = replace(whole, grid=whole.grid[:3])
    hold(store, part, 0)
    hold(store, whole, 0)
    assert len(written(store)["owed"]) == 8 * 3
    with pytest.raises(UsageError, match="has 15 trials of a grid"):
        hold(store, part, 0)
