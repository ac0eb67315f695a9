"""What a dataset is: a named way to decode labelled images into arrays."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 1 << 24


@dataclass(frozen=True)
class Arrays:
    """Decoded images, uint8 [N, C, H, W], with labels, int64 [N], that index `classes`."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    classes: tuple[str, ...]
    hash: str = field(default="")
    """Name of the content: sha256[:16] over shapes, images and labels; computed unless given."""

    def __post_init__(self) -> None:
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            if len(images) != len(labels) or not len(images):
                raise ValueError(f"{len(images)} images with {len(labels)} labels")
        if not self.hash:
            object.__setattr__(self, "hash", content(*self.parts().values()))

    def parts(self) -> dict[str, Array]:
        """The four arrays by name."""
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return {name: getattr(self, name) for name in names}


class Dataset(Protocol):
    """A frozen dataclass whose fields say how images are decoded, and whose defaults say how they are used."""

    train_size: ClassVar[int | None]
    """Default number of training images; None = all that validation leaves."""
    val_size: ClassVar[int | None]
    """Default number of validation images; None = a tenth of the official training images."""
    augment: ClassVar[str]
    """Default augmentation, one of `Split.augment`."""

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """All images of `source`, or without one the built-in or official images, fetched into `download` if need be.

        Raises UsageError if there are none, or not in this dataset's layout.
        """
        ...


def content(*arrays: Array) -> str:
    """sha256[:16] over types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, CHUNK):
            digest.update(flat[start : start + CHUNK].tobytes())
    return digest.hexdigest()[:16]
