"""Per-image results survive their packing; shortfalls against loops over rows and images."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from basin.environment import Machine, Place
from basin.outcome_file import MOST, round_to_half
from basin.results import ImageResults
from basin.trial import Outcome, overlay, run
from stats.verdicts import bounds
from sweeps.storage.outcomes import decode, pack_correct, shortfalls
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Store, tables_of
from tests.support.tiny_sweep import ROOT, study


def trial(folder: Path, cache: Path, **changes: object) -> Outcome:
    place = Place(machine=Machine(device="cpu", threads=1), cache=cache, runs=folder)
    base = study(model="mlp", hidden="8", width=None, members="3", alphas="5", path_images="37")
    return run(overlay(base.resolve_trial({"construction": "constrained", "seed": 0, "beta": 0.0}), changes), place)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Outcome:
    return trial(tmp_path_factory.mktemp("runs"), image_cache, t=0.0, share_init=False, constraint="star")


@pytest.fixture
def table(outcome: Outcome, tmp_path: Path) -> pa.Table:
    store = Store(tmp_path / "demo")
    store.write_tables(outcome.trial.key, tables_of(outcome, sweep="demo"))
    return store.table("outcomes", outcome.trial.key)


def of(outcome: Outcome, split: str, kind: str) -> list[ImageResults]:
    return [own for own in outcome.measured.outcomes if (own.split, own.kind) == (split, kind)]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1497])
def test_bits_are_numpy_s(count: int) -> None:
    correct = np.random.default_rng(count).random(count) < 0.7
    content = pack_correct(correct)
    assert len(content) == -(-count // 8)
    assert [bool(content[n // 8] >> (7 - n % 8) & 1) for n in range(count)] == correct.tolist()


def test_losses_beyond_half_precision_stay_finite() -> None:
    assert round_to_half([0.0, 1.5, 1e9, np.inf]).tolist() == [0.0, 1.5, MOST, MOST]
    assert np.isnan(round_to_half([np.nan])).all()


@pytest.mark.parametrize("kind", ["ensemble", "member", "soup", "path", "hull", "size"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_what_was_measured_is_read_again(kind: str, split: str, table: pa.Table, outcome: Outcome) -> None:
    found, wanted = decode(table, split, kind), of(outcome, split, kind)
    assert len(wanted) > 0
    images = 37 if kind in ("path", "hull") else 60
    expected: dict[str, Any] = {"nll": [own.nll for own in wanted]}
    for column, name in (
        ("correct", "correct"),
        ("calibrated_nll", "calibrated_nll"),
        ("share", "accuracy_per_image"),
        *((name, name) for name in ("policy", "size", "weights", "judged")),
    ):
        values = [getattr(own, column) for own in wanted]
        if any(value is not None for value in values):
            expected[name] = values
    assert found.keys() == expected.keys()
    for name in expected.keys() & {"nll", "calibrated_nll", "accuracy_per_image"}:
        assert found[name].shape == (len(wanted), images)
        np.testing.assert_allclose(found[name], np.array(expected[name]), rtol=1e-3, atol=1e-6)
    for name in expected.keys() - {"nll", "calibrated_nll", "accuracy_per_image"}:
        assert found[name].tolist() == np.array(expected[name]).tolist()


def test_a_kind_that_is_not_there_is_empty(table: pa.Table) -> None:
    assert decode(table, "train", "path") == {}


def slow(outcome: Outcome, split: str, kind: str, by: str) -> dict[tuple[float, ...], list[float]]:
    """Mixing row → what it loses on each image, from unpacked results, in loops."""
    ends = {own.weights: own for own in of(outcome, split, "path") if own.weights and max(own.weights) == 1}
    units = [ends[tuple(unit)] for unit in np.eye(3).tolist()]
    found = {}
    for own in of(outcome, split, kind):
        if own in units or own.weights is None:
            continue
        losses = []
        for n in range(len(own.nll)):
            if by == "accuracy":
                chord = sum(w * float(end.correct[n]) for w, end in zip(own.weights, units, strict=True))  # type: ignore[index]
                losses.append(100 * (chord - float(own.correct[n])))  # type: ignore[index]
            else:
                chord = sum(w * float(np.float16(end.nll[n])) for w, end in zip(own.weights, units, strict=True))
                losses.append(float(np.float16(own.nll[n])) - chord)
        found[own.weights] = losses
    return found


@pytest.mark.parametrize("by", ["accuracy", "nll"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_path_shortfalls_are_sums_over_rows_and_images(by: Any, split: str, table: pa.Table, outcome: Outcome) -> None:
    expected = slow(outcome, split, "path", by)
    for judged, pairs in ((True, [(0, 1), (0, 2)]), (False, [(0, 1), (0, 2), (1, 2)])):
        found = shortfalls(table.take(np.random.default_rng(0).permutation(len(table))), split, by, judged=judged)
        assert (found.pairs, found.alphas) == (pairs, [0.25, 0.5, 0.75])
        assert found.values.shape == (len(pairs), 3, 37)
        for p, (i, j) in enumerate(pairs):
            for a, alpha in enumerate(found.alphas):
                row = [0.0] * 3
                row[i], row[j] = 1 - alpha, alpha
                np.testing.assert_allclose(found.values[p, a], expected[tuple(row)], atol=1e-9)
    assert np.abs(found.values).max() > 0


@pytest.mark.parametrize("by", ["accuracy", "nll"])
def test_hull_shortfalls_pair_the_centroid_with_each_random_point(by: Any, table: pa.Table, outcome: Outcome) -> None:
    expected = list(slow(outcome, "test", "hull", by).values())
    found = shortfalls(table, "test", by, "hull")
    assert found.values.shape == (8, 2, 37)
    assert (found.pairs, found.alphas) == ([(0, p) for p in range(1, 9)], [0.0, 1.0])
    for p in range(8):
        np.testing.assert_allclose(found.values[p, 0], expected[0], atol=1e-9)
        np.testing.assert_allclose(found.values[p, 1], expected[1 + p], atol=1e-9)


def test_a_trial_s_bounds_are_those_of_its_outcomes(table: pa.Table, outcome: Outcome) -> None:
    scores = outcome.measured.scores
    for split in ("val", "test"):
        for kind, name in (("path", "basin"), ("hull", "hull")):
            found = bounds(shortfalls(table, split, kind=kind).values[None], worst=100)  # type: ignore[arg-type]
            assert found.upper == pytest.approx(scores[f"{split}_{name}_upper_reset"])
            assert found.lower == pytest.approx(scores[f"{split}_{name}_lower_reset"])
        nats = bounds(shortfalls(table, split, "nll").values[None], worst=None)
        assert nats.upper == pytest.approx(scores[f"{split}_loss_upper_reset"], abs=2e-3)  # half precision


def test_without_hull_points_the_centroid_is_alone(tmp_path: Path, image_cache: Path) -> None:
    alone = trial(tmp_path, image_cache, hull_points=0)
    table = pa.Table.from_pylist(tables_of(alone)["outcomes"], SCHEMAS["outcomes"]())
    found = shortfalls(table, "val", kind="hull")
    assert (found.values.shape, found.pairs, found.alphas) == ((1, 1, 37), [(0, 0)], [0.0])


def test_one_network_loses_nothing(tmp_path: Path, image_cache: Path) -> None:
    same = trial(tmp_path, image_cache, t=1.0)
    table = pa.Table.from_pylist(tables_of(same)["outcomes"], SCHEMAS["outcomes"]())
    for by in ("accuracy", "nll"):
        for kind in ("path", "hull"):
            assert np.all(shortfalls(table, "test", by, kind).values == 0)  # type: ignore[arg-type]


def test_losses_may_be_left_out(tmp_path: Path, image_cache: Path) -> None:
    plain = trial(tmp_path, image_cache, outcome_nll=False)
    table = pa.Table.from_pylist(tables_of(plain)["outcomes"], SCHEMAS["outcomes"]())
    assert table["nll"].null_count == len(table)
    assert "nll" not in decode(table, "val", "path")
    assert decode(table, "val", "size")["calibrated_nll"].shape == (3, 60)
    assert shortfalls(table, "val").values.shape == (3, 3, 37)
    with pytest.raises(ValueError, match="outcomes without losses: expected a trial with outcome_nll=true"):
        shortfalls(table, "val", "nll")


def test_a_single_network_has_no_shortfalls(tmp_path: Path, image_cache: Path) -> None:
    single = trial(tmp_path, image_cache, construction="deep", members=1)
    table = pa.Table.from_pylist(tables_of(single)["outcomes"], SCHEMAS["outcomes"]())
    assert set(table["kind"].to_pylist()) == {"ensemble", "member", "size", "soup"}
    with pytest.raises(ValueError, match="outcomes without path rows on val: expected an ensemble of two members"):
        shortfalls(table, "val")


def test_readers_need_neither_torch_nor_the_science() -> None:
    code = "import sys, sweeps.storage.outcomes; print(sorted({'torch', 'basin', 'ray', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
