"""The archives that people have, whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from basin.data import (
    Arrays,
    Data,
    Dataset,
    DataSplit,
    datasets,
    fashion_mnist,
    load_arrays,
    split_data,
    training_batch,
)
from basin.errors import UsageError

pytestmark = pytest.mark.slow


def real(shared_data: Path, name: str) -> Path:
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not in {shared_data}")
    return shared_data / name


def decoded(dataset: Dataset, source: Path | None, cache: Path) -> tuple[Arrays, Data]:
    load_arrays(dataset, source=source, cache=cache)
    arrays, _ = load_arrays(dataset, source=source, cache=cache)
    return arrays, split_data(arrays, dataset, DataSplit())


def test_cifar10_jpeg_twin(shared_data: Path, tmp_path: Path) -> None:
    source = real(shared_data, "cifar10-jpeg.tar.xz")
    arrays, data = decoded(datasets.make("imagefolder"), source, tmp_path)
    assert arrays.train_images.shape == (50_000, 3, 32, 32)
    assert arrays.classes[0] == "airplane"
    assert torch.bincount(data.val.labels).tolist() == [500] * 10
    assert torch.bincount(data.train.labels).tolist() == [4500] * 10
    # The moments that everybody uses for CIFAR-10.
    torch.testing.assert_close(data.mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=2e-3, rtol=0)
    x, _ = training_batch(data, seed=0, member=0, step=10**6, batch_size=128)
    assert x.shape == (128, 3, 32, 32)
    with pytest.raises(UsageError, match=r"holds image files: .*use dataset=imagefolder"):
        load_arrays(datasets.make("cifar10"), source=source, cache=tmp_path)


def test_half_of_tiny_imagenet(shared_data: Path, tmp_path: Path) -> None:
    source = real(shared_data, "tiny-imagenet-100classes.zip")
    arrays, data = decoded(datasets.make("tiny-imagenet", resolution=32), source, tmp_path)
    assert arrays.train_images.shape == (50_000, 3, 32, 32)
    assert len(arrays.classes) == 100
    assert np.bincount(arrays.test_labels).tolist() == [50] * 100
    assert torch.bincount(data.val.labels).tolist() == [50] * 100


def test_fashion_mnist_of_debian(tmp_path: Path) -> None:
    if not fashion_mnist.DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    arrays, data = decoded(datasets.make("fashion-mnist"), None, tmp_path)
    assert arrays.train_images.shape == (60_000, 1, 28, 28)
    assert np.bincount(arrays.test_labels).tolist() == [1000] * 10
    torch.testing.assert_close(data.mean, torch.tensor([0.2860]), atol=2e-3, rtol=0)
    torch.testing.assert_close(data.std, torch.tensor([0.3530]), atol=2e-3, rtol=0)
