"""The Python of docs/definitions.md gives the program's numbers: the page alone is enough to compute them again."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

from basin.connectivity.hull import hull_rows
from basin.data import DataSplit, split_data
from basin.data.digits import Digits
from basin.data.splits import stratified_order
from basin.metrics import score_predictions
from basin.seeds import make_generator
from stats.intervals import estimate
from stats.verdicts import bounds, decide, loss_margin
from sweeps.queries.verdicts import joint_verdict
from tests.support.kept_trials import key_of
from tests.support.tiny_trial import task, trial
from tests.test_docs import blocks

DIGITS = Digits().decode(None, Path())


@pytest.fixture(scope="module")
def page(root) -> Any:
    """The functions of the page."""
    names: dict[str, Any] = {}
    exec("\n".join(text for language, text in blocks(root, "docs/definitions.md") if language == "python"), names)
    return SimpleNamespace(**names)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_draws_are_those_of_torch(page, n):
    draw, own = make_generator(3, "val"), page.stream(3, "val")
    assert page.permutation(own, n).tolist() == torch.randperm(n, generator=draw).tolist()
    assert page.uniform(own, n).tolist() == torch.rand(n, generator=draw).tolist()


def test_the_stratified_order_of_unequal_classes(page):
    labels = np.repeat([2, 0, 3, 7], [40, 3, 17, 1])
    for seed in range(5):
        assert page.stratified_order(labels, seed, "val").tolist() == stratified_order(labels, seed, "val").tolist()


@pytest.mark.parametrize("seed", [0, 5])
def test_the_images_of_each_split(page, seed):
    sizes = {"train_size": 101, "val_size": 77, "test_size": 50}
    data = split_data(DIGITS, Digits(), DataSplit(split_seed=seed, **sizes))
    found = page.splits(DIGITS.train_labels, DIGITS.test_labels, **sizes, split_seed=seed)
    for images, index in zip((data.train, data.val, data.test), found, strict=True):
        assert images.index.tolist() == index.tolist()
    labels = data.test.labels.numpy()
    sample = np.sort(page.stratified_order(labels, "sample")[:20])
    assert data.test.sample(20).index.tolist() == data.test.index[sample].tolist()


def test_the_points_of_the_hull(page):
    np.testing.assert_allclose(page.hull_rows(5, 8), hull_rows(5, 8).numpy(), rtol=0, atol=1e-12)


def test_reset_statistics_and_distance_of_stored_networks(page, kept):
    """The soup's first layer: mean of the batches' means and unbiased variances, over the training images in parts."""
    row = kept.row(key_of(kept, "constrained"))
    file = kept.weights_path(row["ensemble_key"])
    tensors = load_file(file)
    header = file.read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    coords = json.loads(metadata["coords"])
    assert page.member_distance(tensors, coords) == pytest.approx(row["member_distance"], rel=1e-9)
    assert page.member_distance(tensors, coords, skip=("norm", "shortcut.1")) > row["member_distance"]

    train, _, _ = page.splits(DIGITS.train_labels, DIGITS.test_labels, train_size=100, val_size=60, test_size=60)
    pixels = DIGITS.train_images[train] / 255.0
    pixels = (pixels - pixels.mean()) / pixels.std()
    hidden = F.conv2d(
        torch.from_numpy(pixels), torch.from_numpy(tensors["conv.weight"]).double().mean(dim=0), padding=1
    )
    parts = page.batchnorm_batches(len(train), row["data_hash"])
    values = [hidden.numpy()[part].transpose(1, 0, 2, 3).reshape(hidden.shape[1], -1) for part in parts]
    variance = np.mean([part.var(axis=1, ddof=1) for part in values], axis=0)
    np.testing.assert_allclose(tensors["soup/norm.running_var"], variance, rtol=1e-4)


def test_batches_of_the_statistics_differ_by_one_at_most(page):
    assert [len(part) for part in page.batchnorm_batches(2000, "a")] == [125] * 16
    assert {len(part) for part in page.batchnorm_batches(1999, "a")} == {124, 125}
    assert len(page.batchnorm_batches(1999, "a", 128)) == 1


@pytest.mark.parametrize("construction", ["constrained", "distilled"])
@pytest.mark.parametrize("measure", ["accuracy", "loss", "hull"])
def test_bounds_are_those_of_the_verdicts(page, kept, construction, measure):
    """Of one seed, and of two, which are the same trial."""
    key = key_of(kept, construction)
    score, kind = ("nll" if measure == "loss" else "accuracy"), ("hull" if measure == "hull" else "path")
    table, margin = kept.table("outcomes", key), loss_margin(10) if measure == "loss" else 2.0
    for seeds in ([0], [0, 1]):
        stored = joint_verdict([table] * len(seeds), seeds, "test", measure, margin)
        d = np.stack([page.shortfalls(kept.table_path("outcomes", key), "test", score, kind)] * len(seeds))
        found = page.bounds(d, None if measure == "loss" else 100.0)
        assert stored is not None
        assert (found["upper"], found["lower"]) == pytest.approx((stored["upper"], stored["lower"]), rel=1e-8)
        weakest = stored["weakest"]
        ends = [weakest[name] for name in ("mean", "low", "high")]
        assert [found[name] for name in ("mean", "low", "high")] == pytest.approx(ends, rel=1e-8)
    row, column = kept.row(key), {"accuracy": "basin"}.get(measure, measure)
    again = page.bounds(d[:1], None if measure == "loss" else 100.0)
    exact = 1e-3 if measure == "loss" else 1e-8  # the row's losses are float32
    for end in ("upper", "lower"):
        assert again[end] == pytest.approx(row[f"test_{column}_{end}_reset"], abs=exact)


@pytest.mark.parametrize(("dip", "worst"), [(0.5, 100.0), (1.9, 100.0), (2.5, 100.0), (0.5, None)])
def test_the_images_that_would_decide(page, dip, worst):
    d = np.random.default_rng(3).normal(dip, 20.0, (2, 3, 2, 60))
    verdict = decide(bounds(d, worst=worst), 2.0)
    assert verdict.answer == "undecided"
    assert page.needed(d, 2.0, worst) == verdict.needed


@pytest.mark.parametrize("shape", [(1, 50), (3, 40), (4, 1), (1, 1)])
def test_half_widths(page, shape):
    values = np.random.default_rng(1).normal(size=shape) + np.arange(shape[0])[:, None]
    assert page.half(values) == pytest.approx(estimate(values).half or 0.0)


def test_calibration(page):
    draw = np.random.default_rng(2)
    labels = draw.integers(5, size=101)
    logits = draw.normal(size=(3, 101, 5)) + 2 * np.eye(5)[labels]
    log_probs = torch.log_softmax(torch.from_numpy(logits), dim=2)
    scores = score_predictions(log_probs, torch.from_numpy(labels), final=True)
    mean = np.exp(log_probs.numpy()).mean(axis=0)
    assert page.ece(mean, labels) == pytest.approx(scores["ece"])
    assert page.adaptive_ece(mean, labels) == pytest.approx(scores["adaptive_ece"])
    assert page.fit_temperature(np.log(mean), labels) == pytest.approx(scores["temperature"], rel=1e-5)
    found = page.calibrated_log_likelihood(np.log(mean), labels)
    assert found == pytest.approx(scores["calibrated_log_likelihood"], rel=1e-6)
    ranks = np.argsort(np.argsort(mean.max(axis=1)))
    gap = mean.max(axis=1) - (mean.argmax(axis=1) == labels)
    bins = 15 * ranks // len(labels)
    assert scores["adaptive_ece"] == pytest.approx(100 * sum(abs(gap[bins == b].sum()) for b in range(15)) / 101)


@pytest.mark.parametrize(
    ("changes", "forwards"),
    [
        ({"augment": "none"}, 3 * 5),
        ({"constraint": "simplex"}, 4 * (3 + 2)),
        ({"constraint": "matching"}, 4 * (3 + 2)),  # a triple
        ({"constraint": "star"}, 4 * (3 + 1)),
        ({"constraint": "proximal"}, 4 * 3),
        ({"teacher": "ensemble"}, 4 * 3 * 3),
    ],
)
def test_forwards_of_teachers(tmp_path_factory, image_cache, changes, forwards):
    """Three teachers, 5 steps of which the first is the trunk's; 100 images in batches of 20."""
    given = {"construction": "distilled", "members": 3, "t": 0.2, "epochs": 1, "augment": "crop", **changes}
    opened = task(tmp_path_factory.getbasetemp() / "teachers", image_cache, **given)
    for _ in trial(**given).construction.grow(opened):
        pass
    mixed = 0 if given.get("constraint") == "proximal" else 1
    assert (opened.meter.passes, opened.meter.teacher_passes) == (1 + 4 * (3 + mixed), 3 * 5)
    assert opened.meter.teacher_forwards == forwards
