"""Numbers computed after the fact, against those that the trial itself reported."""

from pathlib import Path

import pytest
from tiny_sweep import study

from basin.errors import UsageError
from basin.place import Place
from basin.trial import Outcome, identify, run
from sweeps.rescore import deep_curve, equivalents, rescore
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    points: list[dict[str, object]] = [{"construction": "deep"}, {"construction": "constrained", "t": 0.5}]
    return filled(tmp_path_factory.mktemp("kept"), image_cache, points, predictions="true")


@pytest.mark.parametrize("metric", ["nll", "brier", "ece", "adaptive_ece", "disagreement", "mutual_information"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_agrees_with_the_trial(store: Store, metric: str, split: str) -> None:
    for found in rescore(store, metric, split=split):
        # Kept as float16: of 60 images one may have two classes that rounding makes equal.
        nearly = 100 / 60 + 1e-9 if metric == "disagreement" else 0.05
        assert found.value == pytest.approx(found.row[f"{split}_{metric}"], rel=5e-3, abs=nearly)


def test_fitted_on_validation(store: Store) -> None:
    for found in rescore(store, "scaled_nll"):
        assert found.value == pytest.approx(found.row["test_scaled_nll"], rel=5e-3)
    with pytest.raises(UsageError, match="expected --split test, for it is fitted on validation"):
        rescore(store, "scaled_nll", split="val")


def test_interval_holds_the_value(store: Store) -> None:
    found = rescore(store, "nll", resamples=50)[0]
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high


def test_refusals(store: Store, tmp_path: Path, image_cache: Path) -> None:
    with pytest.raises(UsageError, match="unknown metric 'speed': expected one of accuracy"):
        rescore(store, "speed")
    with pytest.raises(UsageError, match="it needs another's"):
        rescore(store, "ood_auroc_entropy")
    bare = filled(tmp_path / "bare", image_cache, [{"construction": "deep"}])
    with pytest.raises(UsageError, match=r"keeps no predictions: run it under another --name with --set predictions"):
        rescore(bare, "nll")


def test_equivalents(store: Store, tmp_path: Path, image_cache: Path) -> None:
    curve = filled(tmp_path / "curve", image_cache, [{"construction": "deep"}])
    for row in curve.rows():
        assert deep_curve(curve, row) == {2: row["test_calibrated_log_likelihood"]}
    worth = {row["construction"]: equivalent for row, equivalent in equivalents(store, curve)}
    assert worth["deep"].members == 2
    with pytest.raises(UsageError, match="expected deep ensembles of digits and resnet8, found none"):
        equivalents(store, Store(tmp_path / "nothing"))


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
