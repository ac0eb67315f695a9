"""Numbers computed after the fact, against those that the trial itself reported."""

import io
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import scipy.stats
import torch
from rich.console import Console
from rich.table import Table

from basin.environment import Place
from basin.errors import UsageError
from basin.metrics import all_metrics
from basin.metrics.prediction import ensemble_log_probs
from basin.metrics.temperature import fit_temperature
from basin.trial import identify_data, run
from cli.rescore_tables import equivalent_table, metric_table
from stats.equivalent import equivalent_interval
from stats.intervals import estimate
from sweeps.queries.rescore import (
    bootstrap_draws,
    deep_likelihoods,
    ensemble_equivalents,
    load_predictions,
    rescore_metric,
)
from sweeps.storage.store import Store, tables_of
from sweeps.study.catalog import STUDIES, build
from tests.support.tiny_sweep import study

FACTS = {"sweep": "kept", "role": "grid"}


def filled(folder: Path, cache: Path, points: list[dict[str, object]], **settings: object) -> Store:
    store, made = Store(folder), study(**settings)
    place = Place(cache=cache, runs=folder / "runs")
    for point in points:
        outcome = run(identify_data(made.resolve_trial(point), place), place)
        store.write_tables(outcome.trial.key, tables_of(outcome, **FACTS))
    return store


def table_text(table: Table) -> str:
    text = io.StringIO()
    Console(width=200, file=text).print(table)
    return text.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    points: list[dict[str, object]] = [{"construction": "deep", "seed": seed} for seed in range(3)]
    points.append({"construction": "constrained", "t": 0.5})
    return filled(tmp_path_factory.mktemp("kept"), image_cache, points, predictions="true")


@pytest.mark.parametrize("metric", ["nll", "brier", "ece", "adaptive_ece", "disagreement", "mutual_information"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_agrees_with_the_trials(store: Store, metric: str, split: str) -> None:
    for found in rescore_metric(store, metric, split=split, resamples=0):
        # Kept as float16: of 60 images one may have two classes, or its confidence an edge, that rounding makes equal;
        # of bins with as many images each, two then differ.
        nearly = 2 * 100 / 60 + 1e-9 if metric in ("disagreement", "ece", "adaptive_ece") else 0.05
        expected = fmean(row[f"{split}_{metric}"] for row in found.rows)
        assert found.value.mean == pytest.approx(expected, rel=5e-3, abs=nearly)
        assert found.value.interval is None


def test_trials_that_differ_in_their_seed_are_one_configuration(store: Store) -> None:
    found = {one.rows[0]["construction"]: one for one in rescore_metric(store, "nll", resamples=50)}
    assert {name: [row["seed"] for row in one.rows] for name, one in found.items()} == {
        "deep": [0, 1, 2],
        "constrained": [0],
    }


def test_fitted_on_validation(store: Store) -> None:
    for found in rescore_metric(store, "scaled_nll", resamples=0):
        assert found.value.mean == pytest.approx(fmean(row["test_scaled_nll"] for row in found.rows), rel=5e-3)
    with pytest.raises(UsageError, match="expected --split test"):
        rescore_metric(store, "scaled_nll", split="val")


def test_against_another_dataset(tmp_path: Path, image_cache: Path) -> None:
    kept = filled(tmp_path / "kept", image_cache, [{"construction": "deep"}], predictions="true", ood="digits")
    for metric in ("ood_auroc_entropy", "ood_auroc_max_probability"):
        (found,) = rescore_metric(kept, metric, resamples=20)
        assert found.value.mean == pytest.approx(found.rows[0][f"test_{metric}"], abs=0.01)
        assert found.value.half is not None
        assert 0 < found.value.half < 1


def test_the_interval_of_a_mean_over_images_is_that_of_its_values(store: Store) -> None:
    for found in rescore_metric(store, "nll"):
        kept = [load_predictions(store, row["key"], "test") for row in found.rows]
        assert all(torch.equal(kept[0][1], own) for _, own in kept), "the images are the same"
        values = [-ensemble_log_probs(log_probs)[range(60), labels].numpy() for log_probs, labels in kept]
        expected = estimate(np.stack(values))
        assert found.value.mean == pytest.approx(expected.mean)
        assert found.value.half == pytest.approx(expected.half)
        assert (found.value.n, found.value.images) == (len(found.rows), 60)


def test_the_interval_of_another_number_is_over_images_and_seeds(store: Store) -> None:
    (found,) = [one for one in rescore_metric(store, "ece", resamples=60) if len(one.rows) == 3]
    kept = [load_predictions(store, row["key"], "test") for row in found.rows]
    compute = all_metrics()["ece"].compute
    table = np.array([[compute(p[:, chosen], y[chosen]) for p, y in kept] for chosen in bootstrap_draws(60, 60)])
    own = np.array([compute(p, y) for p, y in kept])
    seeds, images = own.var(ddof=1) / 3, table.mean(axis=1).var(ddof=1)
    both = (table - table.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).sum() / 6
    total = max(seeds - both, 0) + max(images - both, 0) + both
    shares = [min(max(2 * square / both - 1, 0), 1) for square in (seeds, images)]  # decision 8
    spent = shares[0] * seeds**2 / 2 + shares[1] * images**2 / 59 + both**2 / 118
    quantile = scipy.stats.t.ppf(0.975, total**2 / spent)
    assert images > both
    assert found.value.mean == pytest.approx(own.mean())
    assert found.value.half == pytest.approx(quantile * total**0.5)
    assert (found.value.n, found.value.images) == (3, 60)


def test_the_interval_of_a_fitted_metric_takes_the_fit_as_it_is(store: Store) -> None:
    (found,) = [one for one in rescore_metric(store, "scaled_nll", resamples=60) if len(one.rows) == 3]
    values = []
    for row in found.rows:
        fitted, (log_probs, labels) = (load_predictions(store, row["key"], split) for split in ("val", "test"))
        best = fit_temperature(ensemble_log_probs(fitted[0]), fitted[1])
        tempered = torch.log_softmax(ensemble_log_probs(log_probs) / best, dim=1)
        values.append(-tempered[range(60), labels].numpy())
    wanted = estimate(np.stack(values))
    assert found.value.mean == pytest.approx(wanted.mean)
    assert found.value.half == pytest.approx(wanted.half, rel=0.3)  # resampled here


def test_lines_for_people(store: Store) -> None:
    printed = table_text(metric_table("nll", rescore_metric(store, "nll", resamples=20)))
    lines = [line for line in printed.splitlines() if "deep" in line or "constrained" in line]
    assert len(lines) == 2
    assert sum("0, 1, 2" in line and "images, seeds" in line for line in lines) == 1


def test_refusals(store: Store, tmp_path: Path, image_cache: Path) -> None:
    with pytest.raises(UsageError, match="unknown metric 'speed': expected one of accuracy"):
        rescore_metric(store, "speed")
    with pytest.raises(
        UsageError, match=r"no stored predictions of 'ood': .* --set predictions=true --set ood=DATASET"
    ):
        rescore_metric(store, "ood_auroc_entropy")
    bare = filled(tmp_path / "bare", image_cache, [{"construction": "deep"}])
    with pytest.raises(UsageError, match=r"has no stored predictions: .*--set predictions"):
        rescore_metric(bare, "nll")


def test_a_damaged_row_is_named_and_not_left_out_of_a_mean(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.folder / "tables", tmp_path / "copy" / "tables")
    copy = Store(tmp_path / "copy")
    file = copy.table_path("trials", copy.keys()[0])
    file.write_bytes(file.read_bytes()[:-9])
    for compute in (lambda: rescore_metric(copy, "nll"), lambda: ensemble_equivalents(store, copy)):
        with pytest.raises(UsageError, match=f"{file.name}: damaged or changed"):
            compute()


def test_equivalents(store: Store, tmp_path: Path, image_cache: Path) -> None:
    seeds: list[dict[str, object]] = [{"construction": "deep", "seed": seed} for seed in range(3)]
    for members in ("2", "3"):
        curve = filled(tmp_path / "curve", image_cache, seeds, members=members)
    expected: dict[int, dict[int, float]] = {2: {}, 3: {}}
    for row in curve.rows():
        expected[row["members"]][row["seed"]] = row["test_calibrated_log_likelihood"]
    assert deep_likelihoods(curve, curve.rows()[0]) == expected
    found = ensemble_equivalents(store, curve)
    worth = {one.rows[0]["construction"]: one.equivalent for one in found}
    assert worth["deep"].members == pytest.approx(2)
    assert worth["constrained"].ends is None  # one seed
    deep = {size: np.array([[values[seed]] for seed in range(3)]) for size, values in expected.items()}
    assert worth["deep"] == equivalent_interval(deep[2], deep)
    assert worth["deep"].ends is not None
    assert worth["deep"].seeds == 3
    assert "deep" in table_text(equivalent_table(found))
    with pytest.raises(UsageError, match="expected deep ensembles of digits and resnet8, found none of the same data"):
        ensemble_equivalents(store, Store(tmp_path / "nothing"))
    other = filled(tmp_path / "other", image_cache, [{"construction": "deep", "seed": 0}], train_size="90")
    with pytest.raises(UsageError, match="found none of the same data, model and training"):
        ensemble_equivalents(store, other)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_names_distinct_trials_within_their_ranges(name: str) -> None:
    made = build(name, None)
    keys = [job.key for job in made.owed_jobs([0, 1])]
    if made.grid:
        assert len(set(keys)) >= 2 * len(made.grid)
        assert made.trials == 0
    else:
        assert made.trials > 0
    assert len(keys) == 2 * (len(made.grid) + len(made.references))


def test_a_set_field_overrides_the_grid() -> None:
    made = build("alignment", None).with_settings({"width": "0.25"})
    assert {job.trial.flat()["width"] for job in made.owed_jobs([0])} == {0.25}
    only = build("paper", None).with_settings({"construction": "swe"})
    assert {job.changes.get("construction") for job in only.owed_jobs([0])} == {"swe"}
