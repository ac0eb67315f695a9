"""Open the built-in datasets."""

from pathlib import Path
from typing import Any

from basin import data as images
from basin.data import Data, DataSplit, datasets
from basin.environment import default_cache
from basin.spec import replace_known


def dataset(
    name: str, *, source: Path | str | None = None, cache: Path | str | None = None, device: str = "cpu", **split: Any
) -> Data:
    """Open one of the built-in datasets, such as `digits` (no download).

    Parameters
    ----------
    name
        `digits`, `cifar10`, `cifar100`, `fashion_mnist`, `tiny_imagenet`, `imagefolder`, …
    source
        File or folder of the images; digits needs none.
    cache
        Folder for decoded images; none for the user's cache folder.
    device
        Device that holds the images.
    split
        Fields of `basin.data.DataSplit`: `train_size`, `val_size`, `test_size`, `split_seed`, `augment`.

    Returns
    -------
    basin.data.Data
        Pass it as `train=` and as `test=`; each takes its split, normalised.

    Raises
    ------
    UsageError
        For an unknown dataset or field, and for data that cannot be read.
    """
    chosen = datasets.make(name)
    folder = default_cache() if cache is None else Path(cache)
    arrays, _ = images.load_arrays(chosen, source=Path(source) if source else None, cache=folder)
    return images.split_data(arrays, chosen, replace_known(DataSplit(), split), device=device)
