"""Your own images: one folder per class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from basin.data import Arrays, datasets
from basin.data.archives import read_source, summarise_passed
from basin.data.class_folders import find_splits, in_split
from basin.data.dataset import Account
from basin.data.images import decode_images
from basin.errors import UsageError
from basin.spec import Bounds, Checked, Unit


@datasets.register("imagefolder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Checked):
    """A folder, .zip or .tar.* archive with train/CLASS/… and test/CLASS/… (or val/), perhaps below other folders.

    Where there are both test/ and val/, test/ is the test split and val/ is not read: validation comes from train/.
    All encoded files and all decoded pixels are in memory while decoding.
    """

    version: ClassVar[int] = 1

    resolution: Annotated[int | None, Bounds(8), Unit("pixels")] = None
    """Pixels of each side after the shorter one is resized and the centre kept (none: all images share one size)."""

    train_size: ClassVar[int | None] = None
    val_size: ClassVar[int | None] = None
    augment: ClassVar[str] = "crop+flip"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        """RGB images; classes are the folders' names, sorted. Raises UsageError if there are none, or sizes differ."""
        if source is None:
            raise UsageError("dataset imagefolder has no images of its own: give a folder or archive with --data PATH")
        contents = read_source(source, in_split)
        found = find_splits(source, contents)
        place = {name: label for label, name in enumerate(found.classes)}
        labels = np.array([place[name] for name in [*found.train.values(), *found.test.values()]], np.int64)
        # Decoded together: one size for both splits.
        decoded = decode_images({name: contents.files[name] for name in [*found.train, *found.test]}, self.resolution)
        pixels, n = decoded.pixels, len(found.train)
        account = Account(found.layout, decoded.kinds, tuple(summarise_passed(found.passed)), found.notes)
        return Arrays(pixels[:n], labels[:n], pixels[n:], labels[n:], found.names, account=account)
