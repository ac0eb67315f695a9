"""A trial is run again in a folder of its own, and every number is compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from basin.environment import Place
from basin.errors import UsageError
from basin.trial import Trial, identify_data
from sweeps.execution.rerun import _compare_columns, rebuild_trial, rerun_trial
from sweeps.storage.store import Row, Store, tables_of_diverged, tables_of_stopped
from tests.support.kept_trials import keep_trial
from tests.support.tiny_sweep import snapshot, untimed
from tests.support.tiny_trial import MODELS, place, trial

CHANGES: dict[str, object] = {"construction": "distilled", "t": 0.2, "seed": 3, **MODELS["batch"], "bn_images": 40}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("results") / "mine")


@pytest.fixture(scope="module")
def key(store: Store, image_cache: Path) -> str:
    return keep_trial(store, trial(**CHANGES), image_cache).trial.key


@pytest.fixture
def where(image_cache: Path, tmp_path: Path) -> Place:
    return place(tmp_path / "unused", image_cache)


def row_of(store: Store, key: str) -> Row:
    row = store.row(key)
    assert row is not None
    return row


def test_it_gives_the_same_bits_and_leaves_the_sweep_as_it_was(
    store: Store, key: str, where: Place, tmp_path: Path
) -> None:
    before = snapshot(store.folder.parent)
    done = rerun_trial(store, key, tmp_path / "again", where)
    assert not done.differences
    assert done.columns > 100
    assert not done.circumstances
    assert snapshot(store.folder.parent) == before
    assert not (tmp_path / "unused").exists()
    networks = row_of(store, key)["ensemble_key"]
    assert untimed(done.store.weights_path(networks)) == untimed(store.weights_path(networks))


def test_differences_are_named_with_their_size(store: Store, key: str, where: Place, tmp_path: Path) -> None:
    """A score, a member's, and how many rows: changed in a copy of the tables."""
    changed = Store(tmp_path / "changed" / "mine")
    tables: dict[str, list[Row]] = {
        name: store.table(name, key).to_pylist() for name in ("members", "history", "paths", "sizes")
    }
    row = row_of(store, key)
    expected = row["test_nll"] + 0.25, tables["members"][1]["val_accuracy"]
    tables["members"][1]["val_accuracy"] += 1.5
    tables["sizes"].pop()
    tables["trials"] = [
        {**row, "test_nll": expected[0], "passes": row["passes"] + 2, "host": "elsewhere", "seconds": 0}
    ]
    changed.write_tables(key, tables)
    done = rerun_trial(changed, key, tmp_path / "again", where)
    found = {(one.table, one.column): one for one in done.differences}
    assert {name for name, _ in found} == {"trials", "members", "sizes"}
    assert found["trials", "test_nll"].largest == pytest.approx(0.25)
    assert found["members", "val_accuracy"].largest == pytest.approx(1.5)
    assert (found["members", "val_accuracy"].count, found["members", "val_accuracy"].total) == (1, 2)
    assert ("trials", "passes") in found
    assert ("trials", "seconds") not in found
    assert found["sizes", "nll"].largest is None
    assert done.circumstances["host"] == ("elsewhere", place(tmp_path, tmp_path).describe()["host"])


def test_a_diverged_trial_diverges_again(store: Store, where: Place, tmp_path: Path) -> None:
    wild = identify_data(trial(lr=1e30, momentum=0.0), where)
    store.write_tables(wild.key, tables_of_diverged(wild))
    assert not rerun_trial(store, wild.key, tmp_path / "again", where).differences
    calm = identify_data(trial(seed=9), where)
    store.write_tables(calm.key, tables_of_diverged(calm))
    assert "status" in {one.column for one in rerun_trial(store, calm.key, tmp_path / "calm", where).differences}


def test_a_stopped_trial_runs_as_far_as_it_came(
    store: Store, key: str, where: Place, tmp_path: Path, image_cache: Path
) -> None:
    stopped = identify_data(trial(seed=5), where)
    whole = keep_trial(Store(tmp_path / "whole" / "mine"), stopped, image_cache)
    reports: list[Row] = [
        {"step": one.index, "passes": one.passes, "seconds": one.seconds, "progress": one.share, **one.scores}
        for one in whole.history[:2]
    ]
    store.write_tables(stopped.key, tables_of_stopped(stopped, reports))
    done = rerun_trial(store, stopped.key, tmp_path / "again", where)
    assert not done.differences
    again = row_of(done.store, stopped.key)
    assert (again["status"], len(done.store.history(stopped.key))) == ("stopped", 2)


def test_the_trial_of_a_row_has_its_key(store: Store, key: str) -> None:
    row = row_of(store, key)
    rebuilt: Trial = rebuild_trial(row)
    assert rebuilt.key == key
    assert (rebuilt.evaluation.bn_images, rebuilt.seed) == (40, 3)


def test_other_code_is_refused(store: Store, key: str) -> None:
    row = row_of(store, key)
    with pytest.raises(UsageError, match=rf"trial {key} was made by other code.*check out commit {row['commit']}"):
        rebuild_trial({**row, "epochs": 7})


def test_data_that_moved_must_be_given(store: Store, key: str, where: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        rerun_trial(store, key, tmp_path / "again", replace(where, data=tmp_path / "gone"))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, float("nan")], [1.0, float("nan")], None),
        ([1.0, 2.0], [1.0, 2.0 + 2**-50], (1, 2.0**-50)),
        ([1.0, None], [1.0, None], None),
        ([1.0, None], [1.0, 2.0], (1, None)),
        ([1.0, float("inf")], [3.0, float("inf")], (1, 2.0)),
        ([1, 2], [1, 3], (1, None)),
        (["yes"], ["no"], (1, None)),
        ([[1.0, 2.0], [3.0]], [[1.0, 2.5], [3.0]], (1, 0.5)),
    ],
)
def test_columns_are_compared_bit_by_bit(one: list[Any], other: list[Any], expected: Any) -> None:
    found = _compare_columns("trials", "x", pa.chunked_array([pa.array(one)]), pa.chunked_array([pa.array(other)]))
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.count == expected[0]
    if expected[1] is not None:
        assert found.largest == np.float64(expected[1])
