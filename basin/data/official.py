"""Official files of known datasets: found once below a folder, and compared with their published checksums."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from basin.data.archives import Contents
from basin.errors import UsageError

SAME = "the same file again"
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    "tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de",
}
"""Published MD5 of CIFAR-10, CIFAR-100, Fashion-MNIST and Tiny ImageNet, by file name."""


def one_of_each(
    source: Path, contents: Contents, part: Callable[[str], str]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Assign the files of a source to the parts of the dataset; return them, and the skipped ones.

    Raises UsageError naming two files that are the same part with different contents: two datasets below one folder.
    """
    found: dict[str, str] = {}
    passed = dict(contents.passed)
    for name, raw in contents.files.items():
        first = found.setdefault(part(name), name)
        if contents.files[first] != raw:
            raise UsageError(
                f"{source} holds two different files {part(name)}, {first} and {name}: "
                "give the folder of one dataset, or remove the other"
            )
        if first != name:
            passed[name] = SAME
    return {key: contents.files[name] for key, name in found.items()}, passed


def differing_files(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """List in a note the official files whose contents are not the published ones."""
    names = [name for name, raw in files.items() if name in MD5 and hashlib.md5(raw).hexdigest() != MD5[name]]
    return (f"not the published contents (MD5): {', '.join(names)}",) if names else ()
