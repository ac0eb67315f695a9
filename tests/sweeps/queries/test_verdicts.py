"""Verdicts over all seeds of a configuration: against the slow obvious way, and computed only when trials change."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from analysis.data.queries import configurations, estimate_metric, read_tables
from basin.environment import Machine, Place
from cli.tables import print_best
from stats.intervals import Spread
from stats.verdicts import answer, bounds, loss_margin
from sweeps.queries.best import Aim, select_best
from sweeps.queries.verdicts import SCORES, joint_verdict, write_verdicts
from sweeps.storage.outcomes import pack_correct
from sweeps.storage.store import Row, Store
from sweeps.tracking.reader import Run
from sweeps.tracking.tags import experiment_tags
from tests.support.tiny_sweep import row_of, study

ALPHAS = (0.25, 0.5, 0.75)
IMAGES = 200
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Quiet:
    """A listener that counts verdicts."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def advance(self, result: Row | None = None) -> None:
        pass

    def note(self, words: str) -> None:
        raise AssertionError(words)


def outcomes(seed: int, dip: float, members: int = 2) -> tuple[list[Row], np.ndarray[Any, Any]]:
    """Rows of a trial whose paths lose `dip` of the images in the middle, and per alpha and image what is lost."""
    rng = np.random.default_rng(seed)
    rows, lost = [], []
    for split in ("val", "test"):
        ends = rng.random((members, IMAGES)) < 0.9
        losses = rng.random((members, IMAGES)).astype(np.float16)
        about = {"split": split, "policy": "reset", "images": IMAGES}
        for k in range(members):
            unit = [float(k == other) for other in range(members)]
            rows.append(_row(about, "path", unit, ends[k], losses[k], None))
        for alpha in ALPHAS:
            correct = ends[0] & (rng.random(IMAGES) >= dip)
            values = losses[0] + np.float16(dip)
            rows.append(_row(about, "path", [1 - alpha, alpha], correct, values, True))
            lost.append(100 * ((1 - alpha) * ends[0] + alpha * ends[1] - correct))
    return rows, np.array(lost).reshape(2, 1, len(ALPHAS), IMAGES)


def _row(about: Row, kind: str, weights: list[float], correct: Any, losses: Any, judged: bool | None) -> Row:
    return {
        **about,
        "kind": kind,
        "weights": weights,
        "judged": judged,
        "correct": pack_correct(correct),
        "nll": losses,
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def put(
    store: Store, t: float, seed: int, *, dip: float = 0.0, role: str = "fresh", whole: bool = False, **columns: Any
) -> Row:
    """A finished trial with outcomes; `whole`: of its ensemble too."""
    point: Row = {"construction": "deep", "seed": seed} if role == "reference" else {"construction": "constrained"}
    point |= {"seed": seed} if role == "reference" else {"t": t, "beta": 1.0, "seed": seed}
    row = row_of(study(), point, role=role, **{"finished_at": BEGAN + timedelta(minutes=seed)} | columns)
    per_image = [] if columns.get("status") == "diverged" else outcomes(seed, dip)[0]
    for split in ("val", "test") if whole else ():
        correct, losses = _whole(seed, split)
        own = {"split": split, "kind": "ensemble", "size": 2, "images": IMAGES}
        per_image.append({**own, "correct": pack_correct(correct), "nll": losses.astype(np.float16)})
    kept = [{"key": row["key"], **one} for one in per_image]
    store.write_tables(row["key"], {"trials": [row], "members": [], "history": [], "paths": [], "outcomes": kept})
    return row


def place(cache: Path) -> Place:
    return Place(machine=Machine(device="cpu"), cache=cache, runs=cache / "none")


def written(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store.folder / "verdicts.json").read_text())
    return found


def test_joint_is_the_verdict_of_all_seeds_together(store: Store) -> None:
    rows = [put(store, 0.1, seed, dip=dip) for seed, dip in ((1, 0.0), (2, 0.3))]
    tables = [store.table("outcomes", row["key"]) for row in rows]
    lost = np.stack([outcomes(1, 0.0)[1], outcomes(2, 0.3)[1]])
    for number, split in enumerate(("val", "test")):
        found = joint_verdict(tables, [1, 2], split, "accuracy", 2.0)
        expected = bounds(lost[:, number], worst=100.0)
        assert found is not None
        assert (found["upper"], found["lower"]) == pytest.approx((expected.upper, expected.lower))
        assert found["answer"] == answer(expected.upper, expected.lower, 2.0) == "no"
        means = lost[:, number, 0].mean(axis=2)  # [seeds, alphas]
        assert found["weakest"]["seed"] == 2
        assert found["weakest"]["pair"] == [0, 1]
        assert found["weakest"]["mean"] == pytest.approx(means[1, ALPHAS.index(found["weakest"]["alpha"])])
        assert found["weakest"]["mean"] == pytest.approx(means.max())  # that loses most
        assert found["weakest"]["low"] <= found["weakest"]["mean"] <= found["weakest"]["high"]


def test_a_loss_has_a_margin_of_its_own(store: Store) -> None:
    rows = [put(store, 0.1, seed, dip=0.3) for seed in (1, 2)]
    tables = [store.table("outcomes", row["key"]) for row in rows]
    found = joint_verdict(tables, [1, 2], "val", "loss", loss_margin(10))
    assert found is not None
    assert found["margin"] == pytest.approx(0.02 * np.log(10))
    assert found["answer"] == "no"


def test_no_verdict_without_the_same_pairs_and_images(store: Store) -> None:
    row = put(store, 0.1, 1)
    table = store.table("outcomes", row["key"])
    half = table.filter(np.array([weights != [0.5, 0.5] for weights in table["weights"].to_pylist()]))
    assert joint_verdict([table, half], [1, 2], "val", "accuracy", 2.0) is None
    assert joint_verdict([table], [1], "val", "hull", 2.0) is None  # no hull was measured
    assert joint_verdict([table], [1], "val", "accuracy", 2.0) is not None


def test_reported_configurations_are_judged_and_nothing_else(store: Store, image_cache: Path) -> None:
    put(store, 0.1, 0, role="search", val_nll=0.1)
    put(store, 0.2, 0, role="search", val_nll=0.9)
    chosen = [put(store, 0.1, seed) for seed in (1, 2)]
    before = [put(store, 0.2, seed) for seed in (1, 2)]  # chosen when the search was shorter
    deep = [put(store, 0.0, 1, role="reference", dip=0.5), put(store, 0.0, 2, role="reference", status="diverged")]
    heard = Quiet()
    assert write_verdicts(study(), store, place(image_cache), heard)
    assert heard.phases == [("verdicts", 3)]
    held = written(store)
    named = {",".join(sorted(row["key"] for row in rows)): rows for rows in (chosen, before, deep[:1])}
    assert held.keys() == named.keys()
    by_role = {(held[keys]["role"], rows[0].get("t")): held[keys] for keys, rows in named.items()}
    assert by_role["fresh", 0.1]["chosen"]
    assert not by_role["fresh", 0.2]["chosen"]
    reference = held[deep[0]["key"]]
    assert (reference["role"], reference["chosen"], reference["lost"], reference["seeds"]) == (
        "reference",
        True,
        1,
        [1],
    )
    assert reference["test"]["accuracy"]["answer"] == "no"
    told = experiment_tags(store)
    assert {name for name in told if name.startswith("verdict.")} == {
        f"verdict.{min(keys.split(','))}" for keys in held
    }
    tag = json.loads(told[f"verdict.{deep[0]['key']}"])
    assert tag == {name: value for name, value in reference.items() if name != "trials"}


def test_verdicts_are_computed_again_only_where_trials_changed(store: Store, image_cache: Path) -> None:
    put(store, 0.1, 0, role="search")
    for seed in (1, 2):
        put(store, 0.1, seed)
        put(store, 0.0, seed, role="reference")
    assert write_verdicts(study(), store, place(image_cache), Quiet())
    first = written(store)
    again = Quiet()
    assert not write_verdicts(study(), store, place(image_cache), again)
    assert again.phases == []
    put(store, 0.1, 2, dip=0.5, finished_at=BEGAN + timedelta(days=1))  # lost, and run again on another machine
    assert write_verdicts(study(), store, place(image_cache), again)
    assert again.phases == [("verdicts", 1)]
    changed = [keys for keys in first if written(store)[keys] != first[keys]]
    assert len(changed) == 1
    assert written(store)[changed[0]]["test"]["accuracy"]["answer"] == "no"
    (store.folder / "verdicts.json").write_text("{half")
    assert write_verdicts(study(), store, place(image_cache), Quiet())
    assert written(store).keys() == first.keys()


def test_trials_of_older_versions_have_no_verdict(store: Store, image_cache: Path) -> None:
    row = put(store, 0.1, 1)
    store.table_path("outcomes", row["key"]).unlink()
    put(store, 0.1, 0, role="search")
    write_verdicts(study(), store, place(image_cache), Quiet())
    (entry,) = written(store).values()
    assert (entry["val"], entry["test"], entry["chosen"]) == (None, None, True)


def test_scores_have_the_interval_over_seeds_and_images(store: Store, image_cache: Path) -> None:
    rows = [put(store, 0.1, seed, val_accuracy=90.0 + seed, test_nll=0.5, whole=True) for seed in (1, 2)]
    put(store, 0.1, 0, role="search")
    write_verdicts(study(), store, place(image_cache), Quiet())
    (entry,) = written(store).values()
    held = entry["scores"]["val"]["accuracy"]
    right = np.array([100.0 * _whole(seed, "val")[0] for seed in (1, 2)])
    assert held["mean"] == 91.5  # of the rows: per image they are rounded
    assert held["half"] == pytest.approx(_crossed_half(right))
    assert (held["seeds"], held["images"]) == (2, IMAGES)
    assert entry["scores"]["test"]["nll"]["half"] == pytest.approx(
        _crossed_half(np.array([_whole(seed, "test")[1] for seed in (1, 2)]))
    )
    assert "soup_accuracy" not in entry["scores"]["val"]  # no soup was measured
    assert all(row["key"] in entry["keys"] for row in rows)


def test_best_prints_the_digits_of_the_table(store: Store, image_cache: Path) -> None:
    rows = [
        put(store, 0.1, seed, whole=True, val_accuracy=90.0 + seed / 3, val_nll=0.5 + seed / 700) for seed in (1, 2, 3)
    ]
    put(store, 0.1, 0, role="search")
    write_verdicts(study(), store, place(image_cache), Quiet())
    runs = []
    for row in rows:
        numbers = {name: value for name, value in row.items() if name.startswith("val_") and isinstance(value, float)}
        runs.append(Run(row["key"], "fresh", "constrained", {"construction": "constrained"}, numbers))
    found = select_best(runs, tags=experiment_tags(store), aim=Aim(), x="q_bar_reset", y="accuracy", ranked=True)
    text = io.StringIO()
    print_best(found, "val", Console(width=250, file=text))
    tables = read_tables(store.folder)
    (own,) = [one for one in configurations(tables) if one.rows[0]["role"] == "fresh"]
    for metric, digits in (("accuracy", 2), ("nll", 3)):
        shown = estimate_metric(tables, own, metric, "val")
        assert shown is not None
        assert shown.images == IMAGES
        assert shown.format(digits) in text.getvalue()


def _crossed_half(values: np.ndarray[Any, Any]) -> float:
    """Half of the interval of decision 8, term by term."""
    seeds, images = values.shape
    whole = values.mean()
    by_seed = images * sum((row.mean() - whole) ** 2 for row in values) / (seeds - 1)
    by_image = seeds * sum((one.mean() - whole) ** 2 for one in values.T) / (images - 1)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + whole
    both = (rest**2).sum() / (seeds - 1) / (images - 1)
    found = Spread(*(np.full((1, 1), ms / seeds / images) for ms in (by_seed, by_image, both)), FREEDOM)
    return found.half()


FREEDOM = (1, IMAGES - 1, IMAGES - 1)


def _whole(seed: int, split: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Correctness and losses of an ensemble."""
    rng = np.random.default_rng([seed, split == "test"])
    return rng.random(IMAGES) < 0.9, rng.random(IMAGES).astype(np.float16).astype(float)


def test_entries_of_an_older_version_are_computed_again(store: Store, image_cache: Path) -> None:
    put(store, 0.1, 1)
    put(store, 0.1, 0, role="search")
    write_verdicts(study(), store, place(image_cache), Quiet())
    now = written(store)
    older = {keys: {k: v for k, v in one.items() if k not in ("version", "scores")} for keys, one in now.items()}
    (store.folder / "verdicts.json").write_text(json.dumps(older))
    assert write_verdicts(study(), store, place(image_cache), Quiet())
    assert written(store) == now


def test_the_hull_s_weakest_network_is_the_centroid_or_a_random_point(store: Store) -> None:
    row = put(store, 0.1, 1)
    table = store.table("outcomes", row["key"])
    bad, good = np.zeros(IMAGES), np.ones(IMAGES)
    for at, expected in ((0, "centroid"), (2, 2)):
        rows = [
            _row(
                {"split": "val", "policy": "reset", "images": IMAGES, "key": row["key"]},
                "hull",
                [0.5, 0.5] if n == 0 else [0.1 * n, 1 - 0.1 * n],
                bad if n == at else good,
                np.zeros(IMAGES, dtype=np.float16),
                None,
            )
            for n in range(4)
        ]
        whole = pa.concat_tables([table, pa.Table.from_pylist(rows, table.schema)])
        found = joint_verdict([whole], [1], "val", "hull", 2.0)
        assert found is not None
        assert found["weakest"]["point"] == expected
        assert not {"pair", "alpha"} & found["weakest"].keys()


def test_a_tag_of_ten_seeds_fits(store: Store, image_cache: Path) -> None:
    for seed in range(1, 11):
        put(store, 0.1, seed, whole=True, **{f"{split}_{name}": 1 / 3 for split in ("val", "test") for name in SCORES})
    put(store, 0.1, 0, role="search")
    write_verdicts(study(), store, place(image_cache), Quiet())
    (tag,) = [value for name, value in experiment_tags(store).items() if name.startswith("verdict.")]
    hull = len(json.dumps(written(store)[next(iter(written(store)))]["val"]["accuracy"]))
    assert len(tag) + 2 * hull < 5000  # a hull is judged too


def test_a_sweep_without_reported_trials_has_no_file(store: Store, image_cache: Path) -> None:
    put(store, 0.1, 0, role="search")
    assert not write_verdicts(study(), store, place(image_cache), Quiet())
    assert not (store.folder / "verdicts.json").exists()
