"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their official Python layout."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import download_file, entry_names, read_source, summarise_passed
from basin.data.dataset import Account, Array
from basin.data.images import is_image
from basin.data.official import differing_files, one_of_each
from basin.errors import UsageError
from basin.spec import Checked

PARTS = {
    10: ([f"data_batch_{part}" for part in range(1, 6)], "test_batch", "batches.meta"),
    100: (["train"], "test", "meta"),
}
KEYS = {10: (b"labels", b"label_names"), 100: (b"fine_labels", b"fine_label_names")}


@datasets.register("cifar10", classes=10)
@datasets.register("cifar100", classes=100)
@dataclass(frozen=True, kw_only=True)
class Cifar(Checked):
    """60,000 colour photographs of 32×32 pixels; the source is the official .tar.gz, or the folder it unpacks to."""

    version: ClassVar[int] = 1

    classes: int
    """Classes: 10, or 100 (the fine labels)."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = 5000
    augment: ClassVar[str] = "crop+flip"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Downloads are accepted by their md5 alone; a source of one's own is unpickled without running its code."""
        if source is None:
            source = self._official_archive(download)
        train, test, meta = PARTS[self.classes]
        wanted = {*train, test, meta}
        contents = read_source(source, lambda name: PurePosixPath(name).name in wanted)
        files, passed = one_of_each(source, contents, lambda name: PurePosixPath(name).name)
        if missing := wanted - set(files):
            raise self._refuse_source(source, missing)
        tables = {name: _load_table(raw, f"{name} of {source}") for name, raw in files.items()}
        labels = KEYS[self.classes][0]
        kinds = {"32×32 RGB": sum(len(tables[name].get(labels, ())) for name in (*train, test))}
        layout = f"CIFAR-{self.classes}'s files {', '.join((*train, test))}"
        account = Account(layout, kinds, tuple(summarise_passed(passed)), differing_files(files))
        try:
            return Arrays(
                np.concatenate([_table_images(tables[name]) for name in train]),
                np.concatenate([self._checked_labels(tables[name][labels]) for name in train]),
                _table_images(tables[test]),
                self._checked_labels(tables[test][labels]),
                self._class_names(tables[meta]),
                account=account,
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{source}: CIFAR's files are damaged ({error!r}): {self._expected_source}") from None

    @property
    def _expected_source(self) -> str:
        return f"expected cifar-{self.classes}-python.tar.gz, or the folder it unpacks to"

    def _official_archive(self, download: Path) -> Path:
        from torchvision.datasets import CIFAR10, CIFAR100  # type: ignore[import-untyped]

        official = CIFAR10 if self.classes == 10 else CIFAR100
        return download_file(official.url, official.tgz_md5, download)

    def _refuse_source(self, source: Path, missing: set[str]) -> UsageError:
        if any(map(is_image, entry_names(source))):
            return UsageError(
                f"{source} holds image files: {self._expected_source}; for class folders use dataset=imagefolder"
            )
        return UsageError(f"{source} has no file {', '.join(sorted(missing))}: {self._expected_source}")

    def _checked_labels(self, labels: object) -> Array:
        given = np.asarray(labels)
        with np.errstate(invalid="ignore"):  # not a number is no integer either
            array = given.astype(np.int64) if given.dtype.kind in "iuf" else np.full(given.shape, -1)
        if given.ndim != 1 or not (array == given).all():
            raise ValueError(f"labels of shape {given.shape} and type {given.dtype} that are no list of integers")
        if array.size and not 0 <= array.min() <= array.max() < self.classes:
            raise ValueError(f"labels from {array.min()} to {array.max()}")
        return array

    def _class_names(self, table: dict[Any, Any]) -> tuple[str, ...]:
        names = tuple(name.decode() for name in table[KEYS[self.classes][1]])
        if len(names) != self.classes:
            raise ValueError(f"{len(names)} names of classes")
        return names


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


def _load_table(raw: bytes, what: str) -> dict[Any, Any]:
    try:
        table = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    # A damaged pickle can raise anything.
    except Exception as error:
        raise UsageError(f"refused to unpickle {what} ({error}): expected a table of arrays and labels") from None
    if not isinstance(table, dict):
        raise UsageError(f"{what} holds a {type(table).__name__}: expected a table of arrays and labels")
    return table


def _table_images(table: dict[Any, Any]) -> Array:
    """Pixels as [N, 3, 32, 32]; flat rows are the official form, and channels may come last."""
    pixels = np.asarray(table[b"data"])
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels of type {pixels.dtype}")
    if pixels.shape[1:] == (32, 32, 3):
        return pixels.transpose(0, 3, 1, 2)
    if pixels.shape[1:] not in ((3072,), (3, 32, 32)):
        raise ValueError(f"pixels of shape {pixels.shape}")
    return pixels.reshape(-1, 3, 32, 32)
