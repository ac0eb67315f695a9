"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their official Python layout."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import fetch, names, read
from basin.data.dataset import Array
from basin.data.images import is_image
from basin.errors import UsageError
from basin.spec import check

PARTS = {
    10: ([f"data_batch_{part}" for part in range(1, 6)], "test_batch", "batches.meta"),
    100: (["train"], "test", "meta"),
}
KEYS = {10: (b"labels", b"label_names"), 100: (b"fine_labels", b"fine_label_names")}


@datasets.register("cifar10", classes=10)
@datasets.register("cifar100", classes=100)
@dataclass(frozen=True, kw_only=True)
class Cifar:
    """60,000 colour photographs of 32×32 pixels; the source is the official .tar.gz, or the folder it unpacks to."""

    classes: int
    """Classes: 10, or 100 (the fine labels)."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = 5000
    augment: ClassVar[str] = "crop+flip"

    def __post_init__(self) -> None:
        check(self)

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Downloads are accepted by their md5 alone; a source of one's own is unpickled without running its code."""
        if source is None:
            source = self._official(download)
        train, test, meta = PARTS[self.classes]
        wanted = {*train, test, meta}
        found = {PurePosixPath(name).name: raw for name, raw in read(source, lambda n: Path(n).name in wanted).items()}
        if missing := wanted - set(found):
            raise self._refusal(source, missing)
        tables = {name: _unpickle(raw, f"{name} of {source}") for name, raw in found.items()}
        labels, label_names = KEYS[self.classes]
        try:
            return Arrays(
                np.concatenate([_images(tables[name]) for name in train]),
                np.concatenate([self._labels(tables[name][labels]) for name in train]),
                _images(tables[test]),
                self._labels(tables[test][labels]),
                tuple(name.decode() for name in tables[meta][label_names]),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{source} has CIFAR's files but not their contents ({error!r}): {self._expected}"
            ) from None

    @property
    def _expected(self) -> str:
        return f"expected cifar-{self.classes}-python.tar.gz, or the folder it unpacks to"

    def _official(self, download: Path) -> Path:
        from torchvision.datasets import CIFAR10, CIFAR100  # type: ignore[import-untyped]

        official = CIFAR10 if self.classes == 10 else CIFAR100
        return fetch(official.url, official.tgz_md5, download)

    def _refusal(self, source: Path, missing: set[str]) -> UsageError:
        if any(map(is_image, names(source))):
            return UsageError(
                f"{source} holds image files: {self._expected}; for class folders use dataset=imagefolder"
            )
        return UsageError(f"{source} has no file {', '.join(sorted(missing))}: {self._expected}")

    def _labels(self, labels: object) -> Array:
        array = np.asarray(labels).astype(np.int64)
        if array.size and not 0 <= array.min() <= array.max() < self.classes:
            raise ValueError(f"labels from {array.min()} to {array.max()}")
        return array


class _Unpickler(pickle.Unpickler):
    """Containers, texts, numbers and plain arrays only: a pickle could otherwise run any code."""

    allowed: ClassVar[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        # How Python 3 writes bytes in the protocol that the official files have.
        "encode": lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if not module.startswith(("numpy", "_codecs")) or name not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.allowed[name]


def _unpickle(raw: bytes, what: str) -> dict[Any, Any]:
    try:
        table = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    # A damaged pickle can raise anything.
    except Exception as error:
        raise UsageError(f"refused to unpickle {what} ({error}): expected a table of arrays and labels") from None
    if not isinstance(table, dict):
        raise UsageError(f"{what} holds a {type(table).__name__}: expected a table of arrays and labels")
    return table


def _images(table: dict[Any, Any]) -> Array:
    pixels = np.asarray(table[b"data"])
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels of type {pixels.dtype}")
    return pixels.reshape(-1, 3, 32, 32)
