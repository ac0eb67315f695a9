"""Datasets: named ways to decode labelled images into arrays."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 1 << 24


@dataclass(frozen=True)
class Account:
    """Record of how the entries of a source were read."""

    layout: str = "built in"
    """Places in which images and classes were found."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Size and mode of the images as stored → their number."""
    passed: tuple[tuple[str, int, str], ...] = ()
    """Reason for which entries were skipped, their number, and the first of them."""
    notes: tuple[str, ...] = ()
    """Further notes for the user."""


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
    account: Account = field(default_factory=Account)

    def __post_init__(self) -> None:
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"training images of shape {self.train_images.shape[1:]}, test images of {self.test_images.shape[1:]}"
            )
        for images, labels in ((self.train_images, self.train_labels), (self.test_images, self.test_labels)):
            if len(images) != len(labels) or not len(images):
                raise ValueError(f"{len(images)} images with {len(labels)} labels")
        if not self.hash:
            object.__setattr__(self, "hash", content_hash(*self.parts().values()))

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Class → number of its training and test images; classes of one name are counted together."""
        counts = dict.fromkeys(self.classes, (0, 0))
        for label, name in enumerate(self.classes):
            train, test = counts[name]
            counts[name] = (
                train + int((self.train_labels == label).sum()),
                test + int((self.test_labels == label).sum()),
            )
        return counts

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


def content_hash(*arrays: Array) -> str:
    """sha256[:16] over types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, CHUNK):
            digest.update(flat[start : start + CHUNK].tobytes())
    return digest.hexdigest()[:16]
