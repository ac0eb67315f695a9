"""Any images of one's own: a folder for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import read
from basin.data.images import decode, is_image
from basin.errors import UsageError
from basin.spec import Bounds, check


@datasets.register("imagefolder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder, .zip or .tar.* archive with train/CLASS/… and test/CLASS/… (or val/), perhaps below one top folder.

    Where there are both test/ and val/, test/ is the test split and val/ is not read: validation comes from train/.
    All encoded files and all decoded pixels are in memory while decoding.
    """

    resolution: Annotated[int | None, Bounds(8)] = None
    """Pixels of each side after the shorter one is resized and the centre kept (none: all images share one size)."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = None
    augment: ClassVar[str] = "crop+flip"

    def __post_init__(self) -> None:
        check(self)

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """RGB images; classes are the folders' names, sorted. Raises UsageError if there are none, or sizes differ."""
        if source is None:
            raise UsageError("dataset imagefolder has no images of its own: give a folder or archive with --data PATH")
        files = _below_top(read(source, is_image))
        train = _labelled(files, "train")
        test = _labelled(files, "test") or _labelled(files, "val")
        if not train or not test:
            raise UsageError(
                f"{source} has {len(train)} images in train/CLASS/ and {len(test)} in test/CLASS/ or val/CLASS/, "
                f"of {len(files)} in all: expected some in both"
            )
        classes = sorted(set(train.values()))
        if unknown := sorted(set(test.values()) - set(classes)):
            raise UsageError(f"{source}: test classes {', '.join(unknown[:4])} have no images in train/")
        labels = np.searchsorted(classes, [*train.values(), *test.values()]).astype(np.int64)
        # Decoded together: one size for both splits.
        pixels = decode({name: files[name] for name in [*train, *test]}, self.resolution)
        n = len(train)
        return Arrays(pixels[:n], labels[:n], pixels[n:], labels[n:], tuple(classes))


def _below_top(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files by their paths below the one top folder, if there is one around train/."""
    if any(name.startswith("train/") for name in files) or len({name.split("/")[0] for name in files}) != 1:
        return files
    return {name.partition("/")[2]: raw for name, raw in files.items()}


def _labelled(files: Mapping[str, bytes], split: str) -> dict[str, str]:
    """Path → class of the images of one split; images that lie beside the class folders have no class."""
    parts = {name: name.split("/") for name in files}
    return {name: part[1] for name, part in parts.items() if part[0] == split and len(part) > 2}
