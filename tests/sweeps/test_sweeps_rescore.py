"""Numbers computed after the fact, against those that the trial itself reported."""

import io
from pathlib import Path
from statistics import fmean

import pytest
import torch
from rich.console import Console
from rich.table import Table
from tiny_sweep import study

from basin.errors import UsageError
from basin.metrics import metrics
from basin.metrics.bootstrap import interval
from basin.metrics.equivalent import deep_ensemble_equivalent
from basin.metrics.prediction import ensemble_log_probs
from basin.metrics.temperature import fit_temperature
from basin.place import Place
from basin.trial import Outcome, identify, run
from sweeps.rescore import deep_curve, equivalents, predictions, rescore
from sweeps.show import rescored, worths
from sweeps.store import Store, tables_of
from sweeps.studies import STUDIES, build

FACTS = {"sweep": "kept", "role": "grid"}


def filled(folder: Path, cache: Path, points: list[dict[str, object]], **settings: object) -> Store:
    store, made = Store(folder), study(**settings)
    place = Place(cache=cache, runs=folder / "runs")
    for point in points:
        *_, outcome = run(identify(made.trial(point), place), place)
        assert isinstance(outcome, Outcome)
        store.write(outcome.trial.key, tables_of(outcome, **FACTS))
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
    for found in rescore(store, metric, split=split, resamples=0):
        # Kept as float16: of 60 images one may have two classes, or its confidence an edge, that rounding makes equal.
        nearly = 100 / 60 + 1e-9 if metric in ("disagreement", "ece", "adaptive_ece") else 0.05
        expected = fmean(row[f"{split}_{metric}"] for row in found.rows)
        assert found.value == pytest.approx(expected, rel=5e-3, abs=nearly)
        assert found.interval is None


def test_trials_that_differ_in_their_seed_are_one_configuration(store: Store) -> None:
    found = {one.rows[0]["construction"]: one for one in rescore(store, "nll", resamples=50)}
    assert {name: [row["seed"] for row in one.rows] for name, one in found.items()} == {
        "deep": [0, 1, 2],
        "constrained": [0],
    }


def test_fitted_on_validation(store: Store) -> None:
    for found in rescore(store, "scaled_nll", resamples=0):
        assert found.value == pytest.approx(fmean(row["test_scaled_nll"] for row in found.rows), rel=5e-3)
    with pytest.raises(UsageError, match="expected --split test, for it needs another split or dataset"):
        rescore(store, "scaled_nll", split="val")


def test_against_another_dataset(tmp_path: Path, image_cache: Path) -> None:
    kept = filled(tmp_path / "kept", image_cache, [{"construction": "deep"}], predictions="true", ood="digits")
    for metric in ("ood_auroc_entropy", "ood_auroc_max_probability"):
        (found,) = rescore(kept, metric, resamples=20)
        assert found.value == pytest.approx(found.rows[0][f"test_{metric}"], abs=0.01)
        assert found.interval is not None
        assert found.interval.low < found.value < found.interval.high


@pytest.mark.parametrize("metric", ["nll", "ece"])
def test_intervals_are_over_images_and_seeds(store: Store, metric: str) -> None:
    for found in rescore(store, metric, resamples=60):
        kept = [predictions(store, row["key"], "test") for row in found.rows]
        runs, labels = [log_probs for log_probs, _ in kept], kept[0][1]
        assert found.interval == interval(metrics()[metric], runs, labels, resamples=60)
        assert found.interval.low < found.value < found.interval.high
        assert all(torch.equal(labels, own) for _, own in kept), "resampled together: the images are the same"


def test_the_interval_of_a_fitted_metric_is_that_of_tempered_predictions(store: Store) -> None:
    (found,) = [one for one in rescore(store, "scaled_nll", resamples=40) if len(one.rows) == 3]
    tempered, labels = [], torch.empty(0)
    for row in found.rows:
        fitted, (log_probs, labels) = (predictions(store, row["key"], split) for split in ("val", "test"))
        best = fit_temperature(ensemble_log_probs(fitted[0]), fitted[1])
        tempered.append(torch.log_softmax(ensemble_log_probs(log_probs) / best, dim=1)[None])
    wanted = interval(metrics()["nll"], tempered, labels, resamples=40)
    assert found.interval is not None
    ends = found.interval.low, found.interval.value, found.interval.high
    assert ends == pytest.approx((wanted.low, wanted.value, wanted.high))


def test_lines_for_people(store: Store) -> None:
    printed = table_text(rescored("nll", rescore(store, "nll", resamples=20)))
    lines = [line for line in printed.splitlines() if "deep" in line or "constrained" in line]
    assert len(lines) == 2
    assert sum("0, 1, 2" in line and "images, seeds" in line for line in lines) == 1


def test_refusals(store: Store, tmp_path: Path, image_cache: Path) -> None:
    with pytest.raises(UsageError, match="unknown metric 'speed': expected one of accuracy"):
        rescore(store, "speed")
    with pytest.raises(UsageError, match=r"no predictions of 'ood': .* --set predictions=true --set ood=DATASET"):
        rescore(store, "ood_auroc_entropy")
    bare = filled(tmp_path / "bare", image_cache, [{"construction": "deep"}])
    with pytest.raises(UsageError, match=r"keeps no predictions: run it under another --name with --set predictions"):
        rescore(bare, "nll")


def test_equivalents(store: Store, tmp_path: Path, image_cache: Path) -> None:
    seeds: list[dict[str, object]] = [{"construction": "deep", "seed": seed} for seed in range(3)]
    for members in ("2", "3"):
        curve = filled(tmp_path / "curve", image_cache, seeds, members=members)
    likelihoods: dict[int, list[float]] = {2: [], 3: []}
    for row in curve.rows():
        likelihoods[row["members"]].append(row["test_calibrated_log_likelihood"])
    points = {members: fmean(values) for members, values in likelihoods.items()}
    assert deep_curve(curve, curve.rows()[0]) == pytest.approx(points)
    worth = {one.rows[0]["construction"]: one for one in equivalents(store, curve)}
    assert worth["deep"].equivalent.members == pytest.approx(2)
    assert worth["constrained"].ends is None
    # Of three seeds, the interval reaches from the worst to the best.
    assert worth["deep"].ends == tuple(
        deep_ensemble_equivalent(end(likelihoods[2]), points)
        for end in (min, max)  # type: ignore[operator]
    )
    assert "deep" in table_text(worths(list(worth.values())))
    with pytest.raises(UsageError, match="expected deep ensembles of digits and resnet8, found none of the same data"):
        equivalents(store, Store(tmp_path / "nothing"))
    other = filled(tmp_path / "other", image_cache, [{"construction": "deep", "seed": 0}], train_size="90")
    with pytest.raises(UsageError, match="found none of the same data, model and training"):
        equivalents(store, other)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_names_distinct_trials_within_their_ranges(name: str) -> None:
    made = build(name, None)
    keys = [made.trial(changes).key for _, changes in made.owed([0, 1])]
    if made.grid:
        assert len(set(keys)) >= 2 * len(made.grid)
        assert made.trials == 0
    else:
        assert made.trials > 0
    assert len(keys) == 2 * (len(made.grid) + len(made.references))


def test_a_set_field_overrides_the_grid() -> None:
    made = build("alignment", None).set({"width": "0.25"})
    assert {made.trial(changes).flat()["width"] for _, changes in made.owed([0])} == {0.25}
    only = build("paper", None).set({"construction": "swe"})
    assert {made.get("construction") for _, made in only.owed([0])} == {"swe"}
