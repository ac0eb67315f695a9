"""Description of a decoded source, in words and as data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from basin.data.dataset import Arrays

MOST = 4
"""Kinds of images listed in the summary."""


@dataclass(frozen=True)
class Description:
    """A decoded dataset."""

    dataset: str
    """Registered name."""
    arrays: Arrays

    def summary(self) -> str:
        """Describe the source in one line."""
        arrays = self.arrays
        train, test, passed = len(arrays.train_labels), len(arrays.test_labels), self._passed()
        return "".join(
            [
                f"data: {self.dataset}, {len(arrays.classes)} classes, {train:,} training and {test:,} test images ",
                f"({self._kinds()}), hash {arrays.hash}",
                f"; skipped: {passed}" if passed else "",
                *(f"; {note}" for note in arrays.account.notes),
            ]
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """Headings and values, for a table."""
        account = self.arrays.account
        yield "dataset", self.dataset
        yield "layout", account.layout
        yield "hash", self.arrays.hash
        yield "images", f"{len(self.arrays.train_labels):,} training, {len(self.arrays.test_labels):,} test"
        shape = self.arrays.train_images.shape
        yield "decoded to", f"{shape[3]}×{shape[2]}, {shape[1]} channel{'' if shape[1] == 1 else 's'} of 8 bits"
        for kind, count in account.kinds.items():
            yield "stored as", f"{kind}: {count:,}"
        for why, count, first in account.passed:
            yield "skipped", f"{count:,}, {why}: {first}{' …' if count > 1 else ''}"
        for note in account.notes:
            yield "note", note

    def facts(self) -> dict[str, Any]:
        """Facts that are stored with a sweep: names of the classes, and their numbers of images."""
        counts = self.arrays.counts
        return {
            "dataset": self.dataset,
            "hash": self.arrays.hash,
            "classes": list(self.arrays.classes),
            "images": {name: {"train": train, "test": test} for name, (train, test) in counts.items()},
        }

    def _kinds(self) -> str:
        kinds = list(self.arrays.account.kinds)
        shape = self.arrays.train_images.shape
        return ", ".join(kinds[:MOST]) + (", …" if len(kinds) > MOST else "") or f"{shape[3]}×{shape[2]}"

    def _passed(self) -> str:
        return ", ".join(f"{count:,} {why}" for why, count, _ in self.arrays.account.passed)
