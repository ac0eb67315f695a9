"""The embedded dataset: 8×8 grey-scale digits, no download.

`digits.csv.gz` is the test set of E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits* (1998), UCI
Machine Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0. The file is scikit-learn's, unchanged:
a line is 64 grey levels, 0 … 16, and the digit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.dataset import Account
from basin.data.splits import stratified_order
from basin.errors import UsageError

FILE = Path(__file__).parent / "digits.csv.gz"
TEST_SIZE = 697


@datasets.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits:
    """1797 handwritten digits (UCI Optical Recognition, Alpaydin & Kaynak 1998), the same as scikit-learn's.

    They have no official split: 697 images, always the same ones and stratified, are the test split.
    """

    version: ClassVar[int] = 1

    train_size: ClassVar[int | None] = 300
    val_size: ClassVar[int | None] = 600
    augment: ClassVar[str] = "none"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Grey levels 0 … 16 as 0 … 255; raises UsageError if a source is given."""
        if source is not None:
            raise UsageError(f"dataset digits is built in: expected no source, got {source}")
        rows = np.loadtxt(FILE, delimiter=",")
        images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        labels = rows[:, -1].astype(np.int64)
        order = stratified_order(labels, "digits", "test")
        test, train = np.sort(order[:TEST_SIZE]), np.sort(order[TEST_SIZE:])
        account = Account("built in", {"8×8 L": len(images)})
        return Arrays(images[train], labels[train], images[test], labels[test], tuple("0123456789"), account=account)
