"""The outcome of a trial in a file: from it come the tables that come from the outcome itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from basin.outcome_file import read_ending, read_outcome, write_outcome
from basin.trial import Outcome, identify_data, run
from sweeps.storage.store import Store, tables_of
from tests.support.tiny_trial import place, trial

FACTS = {"commit": "c", "sources": "s"}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Outcome:
    """An aligned ensemble with predictions and a plane, some of whose scores are infinite."""
    where = place(tmp_path_factory.mktemp("runs"), image_cache)
    extra = {"predictions": True, "plane_points": 3, "members": 3}
    done = run(identify_data(trial(construction="permuted", **extra), where), where)
    done.measured.scores["test_kl_pairs"] = float("inf")
    done.measured.members[1]["val_nll"] = float("inf")
    return done


def test_its_tables_are_those_of_the_outcome(outcome: Outcome, tmp_path: Path) -> None:
    path, key = tmp_path / "one.safetensors", outcome.trial.key
    write_outcome(path, outcome.trial, outcome, facts=FACTS, seconds=1.5, passes=7)
    again = read_outcome(path, outcome.trial)
    assert again is not None
    stores = [Store(tmp_path / name) for name in ("expected", "found")]
    for store, one in zip(stores, (outcome, again), strict=True):
        store.write_tables(key, tables_of(one, finished_at=None), one.inputs.class_names)
    names = [path.parent.name for path in stores[0].trial_tables(key)]
    assert {"certificates", "planes", "predictions", "outcomes", "history", "reliability"} <= set(names)
    for name in names:
        expected, found = (store.table(name, key) for store in stores)
        assert found.equals(expected, check_metadata=True), name
    assert stores[1].row(key)["test_kl_pairs"] == float("inf")  # type: ignore[index]
    assert (again.inputs, again.epoch, again.batch) == (outcome.inputs, outcome.epoch, outcome.batch)


def test_its_ending_is_read_without_the_rest(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    assert read_ending(path) is None
    write_outcome(path, outcome.trial, None, facts=FACTS, seconds=1.5, passes=7)
    ending = read_ending(path)
    assert ending is not None
    assert (ending.key, ending.status, ending.facts) == (outcome.trial.key, "diverged", FACTS)
    assert (ending.seconds, ending.passes) == (1.5, 7)
    assert read_outcome(path, outcome.trial) is None
    other = replace(outcome, epoch=outcome.epoch + 1)
    write_outcome(path, outcome.trial, other, facts=FACTS, seconds=1.5, passes=7)
    assert read_ending(path).status == "done"  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert read_ending(path) is None
    assert read_outcome(path, outcome.trial) is None
