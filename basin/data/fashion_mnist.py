"""Fashion-MNIST (Xiao 2017): 70,000 grey-scale pictures of clothes."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import DAMAGED, Contents, download_file, read_source, summarise_passed
from basin.data.dataset import Account, Array
from basin.data.official import differing_files, one_of_each
from basin.data.unpacking import unpack_gzip
from basin.errors import UsageError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@datasets.register("fashion-mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist:
    """28×28 pixels, 10 classes; the source is a folder or archive of the four idx files, gzipped or not.

    Without a source, Debian's package dataset-fashion-mnist is used where it is installed.
    """

    version: ClassVar[int] = 1

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = 5000
    augment: ClassVar[str] = "crop+flip"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Raises UsageError naming the idx files that are missing or damaged."""
        if source is None:
            source = DEBIAN if DEBIAN.is_dir() else _official_files(download / "fashion-mnist")
        contents = read_source(source, lambda name: _file_stem(name) in FILES)
        packed = {PurePosixPath(name).name: raw for name, raw in contents.files.items()}
        unpacked = {name: _unpacked(name, raw) for name, raw in contents.files.items()}
        files, passed = one_of_each(source, Contents(unpacked, contents.passed), _file_stem)
        if missing := [name for name in FILES if name not in files]:
            raise UsageError(f"{source} has no file {', '.join(missing)} (.gz or not): expected Fashion-MNIST's four")
        images, labels, test_images, test_labels = (_parse_idx(name, files[name]) for name in FILES)
        account = Account(
            "Fashion-MNIST's four idx files", {}, tuple(summarise_passed(passed)), differing_files(packed)
        )
        try:
            shown = _grey_images(images), _grey_images(test_images)
            size = f"{images.shape[2]}×{images.shape[1]} L"
            return Arrays(
                shown[0],
                _parse_labels(labels, images),
                shown[1],
                _parse_labels(test_labels, test_images),
                CLASSES,
                account=replace(account, kinds={size: len(images) + len(test_images)}),
            )
        except ValueError as error:
            raise UsageError(f"{source}: {error}: expected Fashion-MNIST's images and labels from 0 to 9") from None


def _official_files(download: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

    for name, md5 in FashionMNIST.resources:
        download_file(FashionMNIST.mirrors[0] + name, md5, download)
    return download


def _file_stem(name: str) -> str:
    return PurePosixPath(name).name.removesuffix(".gz")


def _unpacked(name: str, raw: bytes) -> bytes:
    if not name.endswith(".gz"):
        return raw
    try:
        return unpack_gzip(name, raw)
    except UsageError:
        raise
    except DAMAGED as error:
        raise UsageError(f"cannot read {name} ({error}): expected a whole .gz file") from None


def _parse_idx(name: str, raw: bytes) -> Array:
    """An idx file: 0, 0, type 8 = uint8, number of axes, each length as big-endian int32, then the values."""
    try:
        axes = raw[3] if raw[:3] == b"\0\0\x08" else 0
        shape = np.frombuffer(raw, ">i4", axes, 4).astype(np.int64)
        if (shape < 0).any():  # NumPy would work out one of them
            raise ValueError("negative length")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (ValueError, IndexError):
        raise UsageError(f"cannot read {name}: expected a whole idx file of bytes") from None


def _grey_images(images: Array) -> Array:
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images of shape {images.shape}")
    return images[:, None]


def _parse_labels(labels: Array, images: Array) -> Array:
    if labels.shape != images.shape[:1] or labels.max() >= len(CLASSES):
        raise ValueError(f"{labels.size} labels for {len(images)} images, the largest {labels.max()}")
    return labels.astype(np.int64)
