"""`basin.load`: a trial's networks by its key, with all that using them needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import basin
from basin import stack, stages
from basin.errors import UsageError
from basin.loaded import LoadedEnsemble
from basin.trial import Outcome, trial_of_recipe
from sweeps.storage.store import Store
from tests.support.kept_trials import keep_trial
from tests.support.tiny_sweep import python, works
from tests.support.tiny_trial import MODELS, same, trial

KINDS: dict[str, dict[str, object]] = {
    "deep": {"construction": "deep"},
    "constrained": {"construction": "constrained", "t": 0.4, "members": 3, **MODELS["batch"]},
    "swe": {"construction": "swe", **MODELS["group"]},
    "vit": {"construction": "distilled", "t": 0.2, **MODELS["vit"]},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("results") / "mine")


@pytest.fixture(scope="module")
def outcome(kind: str, store: Store, image_cache: Path) -> Outcome:
    return keep_trial(store, trial(**KINDS[kind]), image_cache)


@pytest.fixture(scope="module")
def loaded(outcome: Outcome, store: Store, image_cache: Path) -> LoadedEnsemble:
    return basin.load(store.folder, outcome.trial.key[:8], cache=image_cache)


def split_images(loaded: LoadedEnsemble, split: str) -> tuple[Tensor, Tensor]:
    images = getattr(loaded.data.splits, split)
    return images.take(torch.arange(len(images)))


def score(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy in percent and mean negative log-likelihood, in NumPy."""
    values, truth = probabilities.double().numpy(), labels.numpy()
    accuracy = 100 * np.mean(values.argmax(axis=1) == truth)
    return float(accuracy), float(-np.log(values[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize("split", ["val", "test"])
def test_predictions_have_the_scores_of_the_row(loaded: LoadedEnsemble, split: str) -> None:
    images, labels = split_images(loaded, split)
    probabilities = loaded.predict(images)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(len(images)))
    accuracy, nll = score(probabilities, labels)
    assert accuracy == pytest.approx(loaded.row[f"{split}_accuracy"])
    assert nll == pytest.approx(loaded.row[f"{split}_nll"], rel=1e-5)


def test_the_soup_has_the_scores_of_the_row(loaded: LoadedEnsemble) -> None:
    images, labels = split_images(loaded, "test")
    with torch.no_grad():
        probabilities = loaded.soup(loaded.normalise(images)).softmax(dim=1)
    accuracy, nll = score(probabilities, labels)
    assert accuracy == pytest.approx(loaded.row["test_soup_accuracy"])
    assert nll == pytest.approx(loaded.row["test_soup_nll"], rel=1e-5)
    assert torch.allclose(loaded.predictor(soup=True)(images), probabilities)


def test_members_are_those_that_were_trained(loaded: LoadedEnsemble, outcome: Outcome) -> None:
    expected = stack.iterate_networks(outcome.ensemble.members())
    for member, params in zip(loaded.members, expected, strict=True):
        assert same(dict(member.state_dict()), params)
        assert not member.training


def test_images_may_be_bytes_or_numbers_from_0_to_1(loaded: LoadedEnsemble) -> None:
    images, _ = split_images(loaded, "val")
    expected = loaded.predict(images)
    assert torch.allclose(loaded.predict(images.double() / 255), expected, atol=1e-5)
    assert torch.equal(loaded.predict(images.numpy()), expected)


def test_the_recipe_is_the_trained_trial_s(loaded: LoadedEnsemble, outcome: Outcome) -> None:
    assert loaded.trial.ensemble_key == outcome.trial.ensemble_key
    assert trial_of_recipe(outcome.trial.ensemble_recipe) == loaded.trial
    assert loaded.data.dataset == "digits"
    assert loaded.data.hash == outcome.trial.data_hash
    assert loaded.inputs.class_names == tuple("0123456789")
    assert loaded.row["key"] == outcome.trial.key
    assert (loaded.origin.steps, loaded.origin.stages) == (outcome.stages, outcome.trial.recipe_key)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 8, 8, dtype=torch.uint8), "of shape [2, 8, 8]: expected [N, 1, 8, 8]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "expected [N, 1, 8, 8]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "expected uint8 from 0 to 255, or floating point"),
        (torch.full((2, 1, 8, 8), 255.0), "from 255 to 255: expected values from 0 to 1"),
    ],
)
def test_other_images_are_refused(loaded: LoadedEnsemble, images: Tensor, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        loaded.predict(images)
    assert words in str(refused.value)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    """A sweep of three trials; only the first has its networks."""
    store = Store(tmp_path_factory.mktemp("several") / "mine")
    first = keep_trial(store, trial(), image_cache).trial.key
    row = store.row(first)
    assert row is not None
    for key in (f"{first[:4]}000000000000", "fedcba9876543210"):
        store.write_tables(key, {"trials": [{**row, "key": key, "ensemble_key": key}]})
    return store


def refuses(store: Store, key: str, *words: str) -> None:
    with pytest.raises(UsageError) as error:
        basin.load(store.folder, key)
    for word in words:
        assert word in str(error.value), error.value


def test_ambiguous_keys_say_which_match(several: Store) -> None:
    (first,) = [row["key"] for row in several.rows() if several.weights_path(row["ensemble_key"]).exists()]
    refuses(several, first[:4], "2 keys", first, f"{first[:4]}000000000000", "more digits")
    assert basin.load(several.folder, first[:7]).row["key"] == first
    assert basin.load(str(several.folder), first).row["key"] == first


def test_unknown_keys_say_what_exists(several: Store) -> None:
    refuses(several, "0123", "no trial 0123", *several.keys())
    refuses(several, "xyz", "expected the first hex digits")
    refuses(several, "", "expected the first hex digits")


def test_lost_networks_say_how_to_train_them_again(several: Store) -> None:
    refuses(several, "fedc", "were not kept", "launch.py rerun fedcba9876543210")


def test_other_folders_are_refused(several: Store) -> None:
    with pytest.raises(UsageError, match="expected the folder of a sweep"):
        basin.load(several.folder.parent, "fedc")
    with pytest.raises(UsageError, match=r"launch\.py fetch"):
        basin.load("s3://bucket/results/mine", "fedc")


@pytest.fixture
def altered(outcome: Outcome, store: Store) -> Iterator[Any]:
    """Write the networks with other notes; they are put back."""
    path = store.weights_path(outcome.trial.ensemble_key)
    content = path.read_bytes()
    stored = stages.read_tensors(path)
    assert stored is not None

    def write(tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
        path.write_bytes(stages.serialize_tensors(tensors, notes))

    yield lambda change: write(stored[0], change(stored[1]))
    path.write_bytes(content)


def test_files_of_version_1_say_what_they_lack(altered: Any, outcome: Outcome, store: Store) -> None:
    apart = ("recipe", "inputs", "stages", "versions")
    altered(lambda notes: {name: text for name, text in notes.items() if name not in apart})
    with pytest.raises(UsageError, match="earlier version, without recipe") as refused:
        basin.load(store.folder, outcome.trial.key)
    assert f"launch.py rerun {outcome.trial.key}" in str(refused.value)


def test_other_code_is_not_taken_for_the_same(altered: Any, outcome: Outcome, store: Store) -> None:
    def change(notes: dict[str, str]) -> dict[str, str]:
        return notes | {"recipe": json.dumps(json.loads(notes["recipe"]) | {"training.version": 99})}

    altered(change)
    with pytest.raises(UsageError, match=r"made by other code .*training\.version=99 there"):
        basin.load(store.folder, outcome.trial.key)


def test_the_images_are_found_where_the_sweep_had_them(loaded: LoadedEnsemble, store: Store, tmp_path: Path) -> None:
    manifest = store.folder / "sweep.json"
    for recorded, expected in ((str(tmp_path), tmp_path), (str(tmp_path / "gone"), None), (None, None)):
        manifest.write_text(json.dumps({"data": {"source": recorded}}))
        assert basin.load(store.folder, str(loaded.row["key"])).data.source == expected
    manifest.unlink()
    assert basin.load(store.folder, str(loaded.row["key"]), source=tmp_path).data.source == tmp_path


def test_importing_basin_imports_no_torch() -> None:
    packages = works(python("-c", "import basin, sys; print(*sys.modules)")).split()
    assert "basin" in packages
    assert not {"torch", "numpy", "basin.loaded"} & set(packages)
    assert "load" in works(python("-c", "import basin; print(dir(basin), basin.__all__)"))
