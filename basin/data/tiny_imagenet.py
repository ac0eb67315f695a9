"""Tiny ImageNet (Stanford CS231n): 200 of ImageNet's classes, 500 training images each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import Contents, download_file, read_source, summarise_passed
from basin.data.dataset import Account
from basin.data.images import decode_images, is_image
from basin.data.official import MD5, differing_files, one_of_each
from basin.errors import UsageError
from basin.spec import Bounds, Checked, Unit

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
LISTS = frozenset({"wnids.txt", "val_annotations.txt"})


@datasets.register("tiny-imagenet")
@dataclass(frozen=True, kw_only=True)
class TinyImagenet(Checked):
    """The source is the official zip, or the folder it unpacks to; the official validation images are the test split.

    Classes of `wnids.txt` without training images are left out, so that a part of the classes is a dataset too.
    """

    version: ClassVar[int] = 1

    resolution: Annotated[int, Bounds(8, 64), Unit("pixels")] = 64
    """Pixels of each side; below the official 64 by area averages."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = None
    augment: ClassVar[str] = "crop+flip"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """Grey-scale files become RGB; raises UsageError if the official layout is not there."""
        source = source or download_file(URL, MD5[PurePosixPath(URL).name], download)
        contents = read_source(source, lambda name: is_image(name) or PurePosixPath(name).name in LISTS)
        files = {name: raw for name, raw in contents.files.items() if is_image(name)}
        listed = {name: raw for name, raw in contents.files.items() if not is_image(name)}
        lists, passed = one_of_each(source, Contents(listed, contents.passed), lambda name: PurePosixPath(name).name)
        if missing := LISTS - set(lists):
            raise _layout_error(source, f"no {' or '.join(sorted(missing))}")
        train = _training_classes(files, set(_text_lines(lists["wnids.txt"])))
        classes = sorted(set(train.values()))
        test = _validation_classes(source, files, lists["val_annotations.txt"], set(classes))
        if not train or not test:
            raise _layout_error(source, f"{len(train)} training and {len(test)} validation images")
        _check_one_top(source, [*train, *test])
        decoded = decode_images({name: files[name] for name in [*train, *test]}, self.resolution)
        pixels, n = decoded.pixels, len(train)
        labels = np.searchsorted(classes, [*train.values(), *test.values()]).astype(np.int64)
        passed |= dict.fromkeys(files.keys() - train.keys() - test.keys(), "no image of a class that is trained")
        archive = {source.name: source.read_bytes()} if source.is_file() else {}
        account = Account(
            "Tiny ImageNet's folders train/ and val/",
            decoded.kinds,
            tuple(summarise_passed(dict(sorted(passed.items())))),
            differing_files(archive),
        )
        return Arrays(pixels[:n], labels[:n], pixels[n:], labels[n:], tuple(classes), account=account)


def _training_classes(files: Iterable[str], known: set[str]) -> dict[str, str]:
    """Path → class of …/train/ID/images/X.JPEG."""
    ends = {name: name.split("/")[-4:] for name in files}
    return {name: end[1] for name, end in ends.items() if len(end) == 4 and end[0] == "train" and end[1] in known}


def _validation_classes(source: Path, files: Iterable[str], annotations: bytes, known: set[str]) -> dict[str, str]:
    """Path → class of …/val/images/X.JPEG; each line of the annotations is file, class and box, between tabs."""
    label: dict[str, str] = {}
    for line in _text_lines(annotations):
        if "\t" in line:
            image, name = line.split("\t")[:2]
            if label.setdefault(image, name) != name:
                raise UsageError(f"{source}: val_annotations.txt gives {image} two classes, {label[image]} and {name}")
    ends = {name: name.split("/")[-3:] for name in files}
    return {
        name: label[end[-1]]
        for name, end in ends.items()
        if end[:2] == ["val", "images"] and label.get(end[-1]) in known
    }


def _check_one_top(source: Path, names: Iterable[str]) -> None:
    """Raise UsageError if images come from two copies of the dataset, of which one may be a part."""
    tops = sorted({"/".join(name.split("/")[: -4 if name.split("/")[-4:-3] == ["train"] else -3]) for name in names})
    if len(tops) > 1:
        raise UsageError(f"{source} holds two datasets, in {tops[0] or '.'} and {tops[1]}: give the folder of one")


def _text_lines(raw: bytes) -> list[str]:
    return raw.decode(errors="replace").splitlines()


def _layout_error(source: Path, problem: str) -> UsageError:
    return UsageError(
        f"{source} has {problem}: expected tiny-imagenet-200.zip or its folder, with wnids.txt, "
        "train/ID/images/*.JPEG, "
        "val/images/*.JPEG and val/val_annotations.txt"
    )
