"""Fashion-MNIST (Xiao 2017): 70,000 grey-scale pictures of clothes."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import fetch, read
from basin.data.dataset import Array
from basin.errors import UsageError
from basin.spec import check

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@datasets.register("fashion-mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist:
    """28×28 pixels, 10 classes; the source is a folder or archive of the four idx files, gzipped or not.

    Without a source, Debian's package dataset-fashion-mnist is used where it is installed.
    """

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = 5000
    augment: ClassVar[str] = "crop+flip"

    def __post_init__(self) -> None:
        check(self)

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Raises UsageError naming the idx files that are missing or damaged."""
        if source is None:
            source = DEBIAN if DEBIAN.is_dir() else _official(download / "fashion-mnist")
        found = {_stem(name): (name, raw) for name, raw in read(source, lambda name: _stem(name) in FILES).items()}
        if missing := [name for name in FILES if name not in found]:
            raise UsageError(f"{source} has no file {', '.join(missing)} (.gz or not): expected Fashion-MNIST's four")
        images, labels, test_images, test_labels = (_idx(*found[name]) for name in FILES)
        try:
            return Arrays(
                _grey(images), _labels(labels, images), _grey(test_images), _labels(test_labels, test_images), CLASSES
            )
        except ValueError as error:
            raise UsageError(f"{source}: {error}: expected Fashion-MNIST's images and labels from 0 to 9") from None


def _official(download: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

    for name, md5 in FashionMNIST.resources:
        fetch(FashionMNIST.mirrors[0] + name, md5, download)
    return download


def _stem(name: str) -> str:
    return PurePosixPath(name).name.removesuffix(".gz")


def _idx(name: str, raw: bytes) -> Array:
    """An idx file: 0, 0, type 8 = uint8, number of axes, each length as big-endian int32, then the values."""
    try:
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
        axes = raw[3] if raw[:3] == b"\0\0\x08" else 0
        shape = np.frombuffer(raw, ">i4", axes, 4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError):
        raise UsageError(f"cannot read {name}: expected a whole idx file of bytes") from None


def _grey(images: Array) -> Array:
    if images.ndim != 3 or not len(images):
        raise ValueError(f"images of shape {images.shape}")
    return images[:, None]


def _labels(labels: Array, images: Array) -> Array:
    if labels.shape != images.shape[:1] or labels.max() >= len(CLASSES):
        raise ValueError(f"{labels.size} labels for {len(images)} images, the largest {labels.max()}")
    return labels.astype(np.int64)
