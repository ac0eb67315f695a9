"""What is particular to one dataset: layouts, labels, and every way to get them wrong."""

import gzip
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basin.data import Arrays, datasets, fashion_mnist, tiny_imagenet
from basin.errors import UsageError

Source = Callable[[str], Path]
Picture = Callable[..., bytes]


def decode(name: str, source: Path | None, **fields: Any) -> Arrays:
    return datasets.make(name, **fields).decode(source, Path("nowhere"))


def test_digits_have_no_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="digits is built in: expected no source, got"):
        decode("digits", tmp_path)


def test_cifar_is_channels_first_and_its_classes_are_named(source: Source) -> None:
    arrays = decode("cifar10", source("cifar10"))
    with (source("cifar10") / "cifar-10" / "data_batch_1").open("rb") as opened:
        table = pickle.load(opened, encoding="bytes")
    red = table[b"data"][3][:1024].reshape(32, 32)
    np.testing.assert_array_equal(arrays.train_images[3, 0], red)
    assert arrays.train_images.shape == (100, 3, 32, 32)
    assert arrays.classes == tuple(f"c{label}" for label in range(10))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_cifar_pickles_of_several_protocols_are_read(source: Source, protocol: int) -> None:
    folder = source("cifar100")
    path = folder / "cifar-100" / "test"
    with path.open("rb") as opened:
        table = pickle.load(opened, encoding="bytes")
    expected = decode("cifar100", folder).hash
    path.write_bytes(pickle.dumps(table, protocol))
    assert decode("cifar100", folder).hash == expected


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


def test_cifar_never_runs_a_pickles_code(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source("cifar10")
    monkeypatch.chdir(tmp_path)
    (folder / "cifar-10" / "data_batch_2").write_bytes(pickle.dumps({b"data": Attack(), b"labels": []}, 2))
    with pytest.raises(UsageError, match=r"refused to unpickle data_batch_2 of .*it names .*mkdir"):
        decode("cifar10", folder)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "refused to unpickle"),
        (pickle.dumps([1]), "holds a list: expected a table"),
        (pickle.dumps({}, 2), "CIFAR's files are damaged .*KeyError"),
        (pickle.dumps({b"data": 3, b"labels": [0]}, 2), "pixels of type int64"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, 2), "labels from 0 to 10"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, 2), "2 images with 1 labels"),
        (pickle.dumps({b"data": np.zeros((2, 9), np.uint8), b"labels": [0, 1]}, 2), r"pixels of shape \(2, 9\)"),
    ],
)
def test_cifar_files_of_other_contents_are_refused(content: bytes, message: str, source: Source) -> None:
    folder = source("cifar10")
    (folder / "cifar-10" / "test_batch").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        decode("cifar10", folder)


def test_cifar_names_the_missing_file_and_the_right_dataset(source: Source) -> None:
    folder = source("cifar10")
    (folder / "cifar-10" / "test_batch").unlink()
    with pytest.raises(UsageError, match=r"no file test_batch: expected cifar-10-python.tar.gz"):
        decode("cifar10", folder)
    with pytest.raises(UsageError, match=r"no file meta, test, train: expected cifar-100-python.tar.gz"):
        decode("cifar100", folder)
    with pytest.raises(UsageError, match=r"holds image files: .* for class folders use dataset=imagefolder"):
        decode("cifar10", source("imagefolder"))


def test_fashion_mnist_is_read_as_written(source: Source) -> None:
    arrays = decode("fashion-mnist", source("fashion-mnist"))
    pixels = np.random.default_rng(40).integers(0, 256, (40, 28, 28), np.uint8)
    np.testing.assert_array_equal(arrays.train_images[:, 0], pixels)
    np.testing.assert_array_equal(arrays.test_labels, np.arange(20) % 10)


IDX = b"\0\0\x08\x01" + np.array([20], ">i4").tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read t10k-labels-idx1-ubyte: expected a whole idx file"),
        (IDX + bytes(19), "cannot read t10k-labels-idx1-ubyte"),
        (b"\0\0\x0d" + IDX[3:] + bytes(20), "cannot read t10k-labels-idx1-ubyte"),
        (b"\0\0\x08\x01" + np.array([3], ">i4").tobytes() + bytes(3), "3 labels for 20 images"),
        (IDX + bytes([11] * 20), "the largest 11"),
    ],
)
def test_fashion_mnist_damaged_labels_are_refused(content: bytes, message: str, source: Source) -> None:
    folder = source("fashion-mnist")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        decode("fashion-mnist", folder)


def test_fashion_mnist_damaged_images_are_refused(source: Source) -> None:
    folder = source("fashion-mnist")
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(UsageError, match=r"cannot read train-images-idx3-ubyte.gz"):
        decode("fashion-mnist", folder)
    path.write_bytes(gzip.compress(IDX + bytes(20)))
    with pytest.raises(UsageError, match=r"images of shape \(20,\)"):
        decode("fashion-mnist", folder)
    path.unlink()
    with pytest.raises(UsageError, match=r"no file train-images-idx3-ubyte \(.gz or not\)"):
        decode("fashion-mnist", folder)


def test_fashion_mnist_is_found_where_debian_puts_it(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source("fashion-mnist")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", folder)
    assert decode("fashion-mnist", None).hash == decode("fashion-mnist", folder).hash


def test_without_network_the_file_to_get_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nothing")
    monkeypatch.setattr(tiny_imagenet, "URL", "http://127.0.0.1:9/tiny-imagenet-200.zip")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setattr(CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    for name, file in [
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("tiny-imagenet", "tiny-imagenet-200.zip"),
    ]:
        with pytest.raises(UsageError, match=rf"cannot download .*get {file} .*--data PATH"):
            datasets.make(name).decode(None, tmp_path / name)
    with pytest.raises(UsageError, match=r"imagefolder has no images of its own: .*--data PATH"):
        decode("imagefolder", None)


def test_tiny_imagenet_of_some_classes(source: Source) -> None:
    arrays = decode("tiny-imagenet", source("tiny-imagenet"))
    assert arrays.classes == ("n01", "n02")
    assert arrays.train_images.shape == (40, 3, 64, 64)
    # Of 40 validation images every third is of the class without training images.
    assert arrays.test_images.shape == (27, 3, 64, 64)
    grey = arrays.train_images[0]
    np.testing.assert_array_equal(grey[0], grey[2])
    assert np.bincount(arrays.test_labels).tolist() == [14, 13]


def test_tiny_imagenet_at_32_pixels_is_the_mean_of_four(source: Source) -> None:
    folder = source("tiny-imagenet")
    full = decode("tiny-imagenet", folder).train_images.astype(float)
    half = decode("tiny-imagenet", folder, resolution=32).train_images
    expected = full.reshape(-1, 3, 32, 2, 32, 2).mean((3, 5))
    # Pillow rounds after each of the two axes.
    assert np.abs(half - expected).max() <= 1
    with pytest.raises(UsageError, match="resolution=65: expected an integer from 8 to 64"):
        datasets.make("tiny-imagenet", resolution=65)


def test_tiny_imagenet_without_its_lists_is_refused(source: Source) -> None:
    top = source("tiny-imagenet") / "tiny-imagenet-200"
    (top / "wnids.txt").write_text("n09\n")
    with pytest.raises(UsageError, match=r"0 training and 0 validation images: expected tiny-imagenet-200.zip"):
        decode("tiny-imagenet", top)
    (top / "wnids.txt").unlink()
    with pytest.raises(UsageError, match=r"has no wnids.txt: expected tiny-imagenet-200.zip"):
        decode("tiny-imagenet", top)


def test_imagefolder_labels_are_its_folders(source: Source) -> None:
    folder = source("imagefolder")
    arrays = decode("imagefolder", folder)
    assert arrays.classes == ("a", "b")
    # Sorted by path: all of class a, then all of class b.
    assert arrays.train_labels.tolist() == [0] * 20 + [1] * 20
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(arrays.train_images[0].transpose(1, 2, 0), pixels)
    top = folder / "top"
    (top / "test").rename(top / "val")
    assert decode("imagefolder", folder).hash == decode("imagefolder", top).hash == arrays.hash
    shutil.copytree(top / "val" / "a", top / "test" / "a")
    assert len(decode("imagefolder", top).test_labels) == 10


def test_imagefolder_sizes_must_agree_or_be_set(source: Source, picture: Picture) -> None:
    folder = source("imagefolder")
    (folder / "top" / "test" / "a" / "large.png").write_bytes(picture(0, 48))
    with pytest.raises(UsageError, match=r"2 sizes: 32×32 \(60\), 48×48 \(1\): expected one size, or set resolution"):
        decode("imagefolder", folder)
    for resolution in (16, 40):
        assert decode("imagefolder", folder, resolution=resolution).test_images.shape == (21, 3, resolution, resolution)


def test_imagefolder_keeps_the_centre(tmp_path: Path) -> None:
    from PIL import Image

    stripes = np.zeros((16, 48, 3), np.uint8)
    stripes[:, 16:32] = 255
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.fromarray(stripes).save(tmp_path / split / "a" / "wide.png")
    assert decode("imagefolder", tmp_path).train_images.shape == (1, 3, 16, 48)
    assert (decode("imagefolder", tmp_path, resolution=8).train_images == 255).all()


def test_imagefolder_needs_class_folders_in_both_splits(source: Source) -> None:
    top = source("imagefolder") / "top"
    shutil.copytree(top / "test" / "a", top / "test" / "c")
    with pytest.raises(UsageError, match=r"class 'c' of test/ has no images in train/"):
        decode("imagefolder", top)
    shutil.rmtree(top / "test")
    with pytest.raises(
        UsageError, match=r"of 40 images 40 in train/CLASS/, 0 in test/CLASS/, 0 in val/CLASS/.*test/CLASS/$"
    ):
        decode("imagefolder", top)
    with pytest.raises(UsageError, match=r"of 20 images 0 in train/CLASS/, .*: make the folders train/ and test/"):
        decode("imagefolder", top / "train" / "a")


def test_a_damaged_image_is_named(source: Source, picture: Picture) -> None:
    folder = source("imagefolder")
    path = folder / "top" / "train" / "a" / "0.png"
    for content in (picture(0)[:400], b"no image", b"", picture(0)[:60] + b"\xff" * 900):
        path.write_bytes(content)
        with pytest.raises(
            UsageError, match=rf"cannot decode top/train/a/0.png: expected an image, got {len(content)}"
        ):
            decode("imagefolder", folder)
