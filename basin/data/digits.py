"""The embedded dataset: 8×8 grey-scale digits, no download."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.splits import stratified_order
from basin.errors import UsageError
from basin.spec import check

TEST_SIZE = 697


@datasets.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits:
    """1797 handwritten digits of scikit-learn (UCI Optical Recognition, Alpaydin & Kaynak 1998).

    They have no official split: 697 images, always the same ones and stratified, are the test split.
    """

    train_size: ClassVar[int | None] = 300
    val_size: ClassVar[int | None] = 600
    augment: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        check(self)

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Grey levels 0 … 16 as 0 … 255; raises UsageError if a source is given."""
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        if source is not None:
            raise UsageError(f"dataset digits is built in: expected no source, got {source}")
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = digits.target.astype(np.int64)
        order = stratified_order(labels, "digits", "test")
        test, train = np.sort(order[:TEST_SIZE]), np.sort(order[TEST_SIZE:])
        return Arrays(images[train], labels[train], images[test], labels[test], tuple("0123456789"))
