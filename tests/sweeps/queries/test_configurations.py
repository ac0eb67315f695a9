"""The table of configurations: one row each, search and reported seeds apart, and the numbers of `best`."""

import csv
import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from sweeps.queries.configurations import configurations_path, write_configurations
from sweeps.storage.store import Row, Store
from tests.support.tiny_sweep import put, row_of, study


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def add(store: Store, role: str, seed: int, **columns: Any) -> Row:
    """A finished trial of a constrained configuration."""
    own = {name: columns.pop(name) for name in ("t", "beta") if name in columns}
    point = {"construction": "constrained", "t": 0.1, "beta": 1.0, "seed": seed} | own
    row = row_of(study(), point, role=role, **columns)
    put(store, row)
    return row


def read(store: Store) -> list[Row]:
    rows: list[Row] = pyarrow.parquet.read_table(write_configurations(store)).to_pylist()
    return rows


def test_search_and_fresh_seeds_are_different_rows(store: Store) -> None:
    add(store, "search", 0, test_accuracy=99.0)
    fresh = [add(store, "fresh", seed, test_accuracy=accuracy) for seed, accuracy in ((1, 90.0), (2, 93.0), (3, 96.0))]
    first, second = read(store)
    assert (first["role"], second["role"]) == ("fresh", "search")
    assert first["configuration"] == second["configuration"]
    assert first["trials"] == [row["key"] for row in fresh]
    assert first["test_accuracy"] == 93.0
    assert first["test_accuracy_half"] == pytest.approx(4.302653 * statistics.stdev([90, 93, 96]) / 3**0.5)  # t, 2 df
    assert (second["test_accuracy"], second["test_accuracy_half"], second["seeds"]) == (99.0, None, 1)
    assert (first["t"], first["beta"]) == (0.1, 1.0)


def test_a_replicate_belongs_to_its_configuration(store: Store) -> None:
    add(store, "search", 0, val_nll=0.1, feasible=True)
    add(store, "replicate", 1, val_nll=0.5, feasible=True)
    add(store, "search", 0, val_nll=0.2, beta=3.0, feasible=False)
    by_beta = {row["beta"]: row for row in read(store)}
    assert {row["role"] for row in by_beta.values()} == {"search"}
    assert by_beta[1.0]["val_nll"] == pytest.approx(0.3)
    assert (by_beta[1.0]["seeds"], by_beta[1.0]["feasible"], by_beta[3.0]["feasible"]) == (2, True, False)
    assert not any(row["reported"] for row in by_beta.values())


def test_limits_hold_for_means_over_seeds(store: Store) -> None:
    (store.folder / "sweep.json").write_text(json.dumps({"objectives": ["val_nll"], "margin": 2.0, "constraints": []}))
    for seed, upper in ((0, 2.5), (1, 1.0)):
        add(store, "search" if seed == 0 else "replicate", seed, val_basin_upper_reset=upper, feasible=upper <= 2)
    (row,) = read(store)
    assert row["feasible"]


def test_lost_seeds_are_counted_and_enter_no_mean(store: Store) -> None:
    add(store, "reference", 1, test_accuracy=90.0)
    add(store, "reference", 2, status="diverged", test_accuracy=None)
    (row,) = read(store)
    assert (row["seeds"], row["lost"], row["test_accuracy"], row["reported"]) == (1, 1, 90.0, True)


def test_means_and_halves_are_those_of_plain_statistics_whatever_the_number_of_seeds(store: Store) -> None:
    t_quantile = {2: 12.7062047, 3: 4.3026527, 4: 3.1824463}  # Student's t, 0.975, of seeds − 1 degrees of freedom
    scores = {1.0: [91.0], 2.0: [90.0, 93.5], 3.0: [90.0, 90.0, 90.0], 4.0: [88.0, 93.5, 91.25, 95.0]}
    unknown = {5.0: [90.0, None], 6.0: [90.0, float("nan")]}
    for beta, values in (scores | unknown).items():
        for seed, value in enumerate(values):
            add(store, "reference", seed, beta=beta, test_accuracy=value, passes=int(100 * beta) + seed)
    rows = {row["beta"]: row for row in read(store)}
    for beta, values in scores.items():
        half = rows[beta]["test_accuracy_half"]
        assert rows[beta]["test_accuracy"] == pytest.approx(statistics.fmean(values))
        if len(values) > 1:
            assert half == pytest.approx(t_quantile[len(values)] * statistics.stdev(values) / len(values) ** 0.5)
        assert (half is None) == (len(values) == 1)
        assert rows[beta]["passes"] == pytest.approx(100 * beta + statistics.fmean(range(len(values))))
    assert (rows[5.0]["test_accuracy"], rows[5.0]["test_accuracy_half"]) == (None, None)
    assert math.isnan(rows[6.0]["test_accuracy"])
    assert rows[6.0]["test_accuracy_half"] is None
    assert rows[6.0]["val_nll"] == pytest.approx(0.3)
    assert rows[6.0]["val_nll_half"] == 0.0


def test_what_the_search_no_longer_chooses_is_not_reported(store: Store) -> None:
    rows = [add(store, "fresh", 1, beta=beta) for beta in (1.0, 3.0)]
    entries = {}
    for row, chosen in zip(rows, (False, True), strict=True):
        entry = {"configuration": row["configuration"], "role": "fresh", "chosen": chosen, "scores": None}
        entries[row["key"]] = entry | {"test": {"accuracy": {"answer": "yes"}}}
    (store.folder / "verdicts.json").write_text(json.dumps(entries))
    by_beta = {row["beta"]: row for row in read(store)}
    assert {beta: (row["chosen"], row["reported"]) for beta, row in by_beta.items()} == {
        1.0: (False, False),
        3.0: (True, True),
    }
    assert by_beta[3.0]["verdict_test"] == "yes"


def test_a_sweep_leaves_the_numbers_that_best_prints(finished: Store, shell: Any) -> None:
    written = pyarrow.parquet.read_table(configurations_path(finished.folder)).to_pylist()
    printed = shell("best", finished.name, "--format", "csv", "--storage", str(finished.folder.parent))
    expected = [row for row in csv.DictReader(io.StringIO(printed)) if row["table"] == "reported"]
    reported = [row for row in written if row["reported"]]
    assert len(reported) == len(expected)
    for row in expected:
        (mine,) = [one for one in reported if row["key"] in one["trials"]]
        assert (mine["role"], mine["verdict_test"]) == (row["role"], row["verdict"])
        for name in ("accuracy", "nll", "soup_accuracy", "q_bar_reset"):
            assert mine[f"test_{name}"] == pytest.approx(float(row[name]))
            assert mine[f"test_{name}_half"] == pytest.approx(float(row[f"{name}_half"]))
