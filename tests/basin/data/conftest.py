"""Tiny sources of every dataset, each in its own layout."""

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from basin.data import Dataset, datasets

Maker = Callable[[Path], None]


def picture(number: int, size: int = 32, kind: str = "RGB") -> bytes:
    """A PNG of noise, each number another one."""
    shape = (size, size, 3) if kind == "RGB" else (size, size)
    pixels = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def cifar(classes: int) -> Maker:
    """100 or 200 training images in Krizhevsky's pickles; protocol 2, as the official ones."""

    def make(folder: Path) -> None:
        draw = np.random.default_rng(classes)
        ten = classes == 10
        names = [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"] if ten else ["train", "test"]
        for name in names:
            n = 20 if ten else 200
            labels = [int(label) for label in np.arange(n) % classes]
            table: dict[bytes, Any] = {b"data": draw.integers(0, 256, (n, 3072), np.uint8)}
            table[b"labels" if ten else b"fine_labels"] = labels
            put(folder / f"cifar-{classes}" / name, pickle.dumps(table, 2))
        meta = {b"label_names" if ten else b"fine_label_names": [b"c%d" % label for label in range(classes)]}
        put(folder / f"cifar-{classes}" / ("batches.meta" if ten else "meta"), pickle.dumps(meta, 2))

    return make


def fashion_mnist(folder: Path) -> None:
    for split, n in (("train", 40), ("t10k", 20)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)
        head = b"\0\0\x08\x03" + np.array([n, 28, 28], ">i4").tobytes()
        put(folder / f"{split}-images-idx3-ubyte.gz", gzip.compress(head + pixels.tobytes(), mtime=0))
        labels = (np.arange(n) % 10).astype(np.uint8)
        put(folder / f"{split}-labels-idx1-ubyte", b"\0\0\x08\x01" + np.array([n], ">i4").tobytes() + labels.tobytes())


def tiny_imagenet(folder: Path) -> None:
    """Two of three classes have images; one image is grey."""
    top = folder / "tiny-imagenet-200"
    put(top / "wnids.txt", b"n02\nn01\nn03\n")
    lines = []
    for number in range(40):
        name, kind = f"n0{number % 2 + 1}", "L" if number == 0 else "RGB"
        put(top / "train" / name / "images" / f"{name}_{number}.JPEG", picture(number, 64, kind))
        put(top / "val" / "images" / f"val_{number}.JPEG", picture(number + 100, 64))
        lines.append(f"val_{number}.JPEG\tn0{number % 3 + 1}\t0\t0\t62\t62\n")
    put(top / "val" / "val_annotations.txt", "".join(lines).encode())


def imagefolder(folder: Path) -> None:
    for number in range(60):
        split = "train" if number < 40 else "test"
        put(folder / "top" / split / "ab"[number % 2] / f"{number}.png", picture(number))


MAKERS: dict[str, Maker | None] = {
    "digits": None,
    "cifar10": cifar(10),
    "cifar100": cifar(100),
    "fashion-mnist": fashion_mnist,
    "tiny-imagenet": tiny_imagenet,
    "imagefolder": imagefolder,
}


@pytest.fixture(scope="session", params=sorted(datasets))
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path | None]:
    """Every registered dataset with a tiny source of its own (None: built in)."""
    assert request.param in MAKERS, f"write a tiny source of dataset {request.param} here"
    make = MAKERS[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "source"
    if make is not None:
        make(folder)
    return datasets.make(request.param), None if make is None else folder


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str], Path]:
    """Function that makes the tiny source of a dataset in this test's folder."""

    def make(name: str) -> Path:
        maker = MAKERS[name]
        assert maker is not None
        maker(tmp_path / name)
        return tmp_path / name

    return make


def pack(folder: Path, archive: Path) -> Path:
    """The folder's files as a zip or tar archive."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in paths:
                zipped.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, f"w:{archive.suffix[1:]}") as tarred:
            for path in paths:
                tarred.add(path, path.relative_to(folder))
    return archive


@pytest.fixture(name="pack")
def pack_fixture() -> Callable[[Path, Path], Path]:
    return pack


@pytest.fixture(name="picture")
def picture_fixture() -> Callable[..., bytes]:
    return picture
