"""Splits are seeded, stratified, nested, and do not overlap."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basin.data import Arrays, Data, DataSplit, datasets, split_data
from basin.data.splits import stratified_order
from basin.errors import UsageError
from basin.spec import replace_known

DIGITS = datasets.make("digits")
ARRAYS = DIGITS.decode(None, Path())


def split(**fields: object) -> Data:
    return split_data(ARRAYS, DIGITS, replace_known(DataSplit(), fields))


def test_digits_are_pinned() -> None:
    """Other numbers here mean that results of earlier versions no longer compare."""
    data = split()
    assert ARRAYS.hash == "7c2b7eeaea25d5af"
    assert (len(data.train), len(data.val), len(data.test)) == (300, 600, 697)
    assert data.train.index[:8].tolist() == [6, 10, 13, 17, 20, 25, 35, 37]
    assert data.val.index[:8].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert data.augment == "none"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(0, 3))
def test_every_beginning_is_stratified(labels: list[int], seed: int) -> None:
    array = np.array(labels)
    order = stratified_order(array, seed)
    assert sorted(order) == list(range(len(labels)))
    classes, counts = np.unique(array, return_counts=True)
    for n in range(1, len(labels) + 1):
        here = np.array([(array[order[:n]] == label).sum() for label in classes])
        share = n * counts / len(labels)
        if n >= len(classes):
            assert here.min() >= 1
        # The first of every class comes early: no class is off by more than the number of classes.
        assert np.abs(here - share).max() <= len(classes)


@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 3))
def test_equal_classes_stay_equal_within_one(classes: int, each: int, seed: int) -> None:
    labels = np.arange(classes * each) % classes
    order = stratified_order(labels, seed)
    for n in range(len(labels) + 1):
        counts = np.bincount(labels[order[:n]], minlength=classes)
        assert counts.max() - counts.min() <= 1


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 600), st.integers(0, 5))
def test_nested_and_apart(small: int, large: int, val_size: int, seed: int) -> None:
    small, large = sorted((small, large))
    few, many = (split(train_size=n, val_size=val_size, split_seed=seed) for n in (small, large))
    assert torch.equal(few.val.index, many.val.index)
    assert set(few.train.index.tolist()) <= set(many.train.index.tolist())
    assert not set(many.train.index.tolist()) & set(many.val.index.tolist())
    assert (len(few.train), len(many.train), len(many.val)) == (small, large, val_size)


def test_train_and_test_share_no_tensor() -> None:
    data = split()
    assert data.train.images.data_ptr() == data.val.images.data_ptr()
    assert data.train.images.data_ptr() != data.test.images.data_ptr()


def test_a_seed_draws_another_split() -> None:
    assert not torch.equal(split().val.index, split(split_seed=1).val.index)
    assert not torch.equal(split(test_size=50).test.index, split(test_size=50, split_seed=1).test.index)


def test_labels_belong_to_images() -> None:
    data = split(test_size=100)
    for images, labels in ((data.train, ARRAYS.train_labels), (data.val, ARRAYS.train_labels)):
        assert torch.equal(images.labels, torch.from_numpy(labels)[images.index])
    pixels, labels = data.test.take(torch.tensor([3, 0]))
    assert torch.equal(pixels[0], torch.from_numpy(ARRAYS.test_images)[data.test.index[3]])
    assert labels.tolist() == ARRAYS.test_labels[data.test.index[[3, 0]].numpy()].tolist()
    assert torch.equal(split().test.labels, torch.from_numpy(ARRAYS.test_labels))


def test_moments_are_those_of_the_training_images() -> None:
    data = split(train_size=50)
    pixels = torch.from_numpy(ARRAYS.train_images)[data.train.index].double() / 255
    torch.testing.assert_close(data.mean.double(), pixels.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(data.std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6, rtol=0)
    x = data.normalise(torch.from_numpy(ARRAYS.train_images)[data.train.index])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(1), atol=1e-5, rtol=0)


def test_blank_images_do_not_divide_by_zero() -> None:
    blank = np.zeros((4, 1, 8, 8), np.uint8)
    arrays = Arrays(blank, np.arange(4) % 2, blank, np.arange(4) % 2, ("a", "b"))
    data = split_data(arrays, DIGITS, DataSplit(train_size=2, val_size=2))
    assert data.normalise(torch.from_numpy(blank)).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"val_size": 1100}, r"val_size=1100: expected at most 1099 \(of 1100 training images"),
        ({"train_size": 501}, r"train_size=501: expected at most 500 \(of 1100 training images, 600 held out"),
        ({"test_size": 698}, r"test_size=698: expected at most 697 \(in the test split"),
        ({"val_size": 0}, "val_size=0: expected an integer of 1 or more"),
        ({"augment": "mixup"}, "augment=mixup: expected one of"),
    ],
)
def test_impossible_splits_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(**fields)


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="1797 images with 1 labels"):
        Arrays(np.zeros((1797, 1, 8, 8), np.uint8), np.zeros(1, np.int64), ARRAYS.test_images, ARRAYS.test_labels, ())


def test_a_sample_holds_every_class_and_is_always_the_same() -> None:
    held = split().test
    some = held.sample(70)
    assert len(some) == 70
    assert torch.equal(some.index, held.sample(70).index)
    assert set(some.index.tolist()) <= set(held.index.tolist())
    counts = torch.bincount(some.labels, minlength=10)
    assert int(counts.min()) >= 5
    assert torch.equal(some.labels, torch.as_tensor(ARRAYS.test_labels)[some.index])
    assert held.sample(None) is held
    assert held.sample(len(held)) is held
