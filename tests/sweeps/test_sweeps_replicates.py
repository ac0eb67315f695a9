"""Which configurations are repeated on other seeds: those that validation chose, whatever test says."""

from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import put, row_of, study

from sweeps.store import Store
from sweeps.sweep import replicates

SEEDS = [0, 1, 2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def fill(store: Store, *scores: tuple[float, float, float, float], **columns: Any) -> None:
    """Searched trials with t = 0.1, 0.2, …: accuracy and q_bar on validation, then on test."""
    for n, (accuracy, q_bar, test_accuracy, test_q_bar) in enumerate(scores, start=1):
        point = {"construction": "constrained", "t": n / 10, "beta": 1.0, "seed": 0}
        found = {"val_accuracy": accuracy, "val_q_bar_reset": q_bar}
        found |= {"test_accuracy": test_accuracy, "test_q_bar_reset": test_q_bar}
        put(store, row_of(study(), point, **found, **columns))


def chosen(store: Store) -> set[object]:
    owed = replicates(study(), store, SEEDS)
    assert all(config["role"] == "replicate" for config in owed)
    assert [config["changes"]["seed"] for config in owed] == ([1, 2] if owed else [])
    return {config["changes"]["t"] for config in owed}


def test_the_best_on_validation_of_those_connected_on_validation(store: Store) -> None:
    fill(store, (91, -1, 99, 0), (93, -1.9, 80, -9), (95, -2.1, 99, 0), (92, 0, 99, 0))
    assert chosen(store) == {0.2}


def test_the_most_connected_on_validation_if_none_is_connected(store: Store) -> None:
    fill(store, (99, -9, 99, 0), (90, -3, 80, -9), (95, -4, 99, 0))
    assert chosen(store) == {0.2}


def test_each_construction_has_its_own(store: Store) -> None:
    fill(store, (91, -1, 99, 0))
    put(store, row_of(study(), {"construction": "distilled", "t": 0.3, "seed": 0}))
    found = [
        (config["changes"]["construction"], config["changes"]["seed"]) for config in replicates(study(), store, SEEDS)
    ]
    assert found == [("constrained", 1), ("constrained", 2), ("distilled", 1), ("distilled", 2)]


@pytest.mark.parametrize("columns", [{"role": "grid"}, {"role": "reference"}, {"status": "diverged"}])
def test_only_searched_trials_that_ended_count(columns: dict[str, str], store: Store) -> None:
    fill(store, (91, -1, 99, 0), **columns)
    assert chosen(store) == set()


def test_a_single_network_has_no_path_and_is_chosen_by_accuracy(store: Store) -> None:
    for accuracy, t in ((91, 0.1), (93, 0.2)):
        point = {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}
        put(store, row_of(study(), point, val_accuracy=accuracy, val_q_bar_reset=None))
    assert chosen(store) == {0.2}
