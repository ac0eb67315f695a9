"""Tiny ImageNet (Stanford CS231n): 200 of ImageNet's classes, 500 training images each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import fetch, read
from basin.data.images import decode, is_image
from basin.errors import UsageError
from basin.spec import Bounds, check

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
LISTS = frozenset({"wnids.txt", "val_annotations.txt"})


@datasets.register("tiny-imagenet")
@dataclass(frozen=True, kw_only=True)
class TinyImagenet:
    """The source is the official zip, or the folder it unpacks to; the official validation images are the test split.

    Classes of `wnids.txt` without training images are left out, so that a part of the classes is a dataset too.
    """

    resolution: Annotated[int, Bounds(8, 64)] = 64
    """Pixels of each side; below the official 64 by area averages."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = None
    augment: ClassVar[str] = "crop+flip"

    def __post_init__(self) -> None:
        check(self)

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Grey-scale files become RGB; raises UsageError if the official layout is not there."""
        source = source or fetch(URL, MD5, download)
        files = read(source, lambda name: is_image(name) or PurePosixPath(name).name in LISTS)
        lists = {PurePosixPath(name).name: raw for name, raw in files.items() if not is_image(name)}
        if missing := LISTS - set(lists):
            raise _refusal(source, f"no {' or '.join(sorted(missing))}")
        train = _training(files, set(_lines(lists["wnids.txt"])))
        classes = sorted(set(train.values()))
        test = _validation(files, lists["val_annotations.txt"], set(classes))
        if not train or not test:
            raise _refusal(source, f"{len(train)} training and {len(test)} validation images")
        pixels = [decode({name: files[name] for name in part}, self.resolution) for part in (train, test)]
        labels = [np.searchsorted(classes, list(part.values())).astype(np.int64) for part in (train, test)]
        return Arrays(pixels[0], labels[0], pixels[1], labels[1], tuple(classes))


def _training(files: Iterable[str], known: set[str]) -> dict[str, str]:
    """Path → class of …/train/ID/images/X.JPEG."""
    ends = {name: name.split("/")[-4:] for name in files}
    return {name: end[1] for name, end in ends.items() if len(end) == 4 and end[0] == "train" and end[1] in known}


def _validation(files: Iterable[str], annotations: bytes, known: set[str]) -> dict[str, str]:
    """Path → class of …/val/images/X.JPEG; each line of the annotations is file, class and box, between tabs."""
    label = dict(line.split("\t")[:2] for line in _lines(annotations) if "\t" in line)
    ends = {name: name.split("/")[-3:] for name in files}
    return {
        name: label[end[-1]]
        for name, end in ends.items()
        if end[:2] == ["val", "images"] and label.get(end[-1]) in known
    }


def _lines(raw: bytes) -> list[str]:
    return raw.decode(errors="replace").splitlines()


def _refusal(source: Path, found: str) -> UsageError:
    return UsageError(
        f"{source} has {found}: expected tiny-imagenet-200.zip or its folder, with wnids.txt, train/ID/images/*.JPEG, "
        "val/images/*.JPEG and val/val_annotations.txt"
    )
