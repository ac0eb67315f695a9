"""The cache: made once, whole or not at all, rebuilt where damaged."""

import json
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basin.data import datasets, load
from basin.data.cache import identity
from basin.errors import UsageError

DIGITS = datasets.make("digits")
HASH = "7c2b7eeaea25d5af"


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def spoil_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("{")


def drop_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def drop_images(folder: Path) -> None:
    (folder / "train_images.npy").unlink()


def cut_images(folder: Path) -> None:
    os.truncate(folder / "train_images.npy", 1000)


def empty_images(folder: Path) -> None:
    os.truncate(folder / "train_images.npy", 0)


def swap_images(folder: Path) -> None:
    np.save(folder / "train_images.npy", np.load(folder / "test_images.npy"))


def forget_shapes(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "shapes": []}))


def list_for_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[]")


DAMAGES = [
    spoil_meta,
    drop_meta,
    drop_images,
    cut_images,
    empty_images,
    swap_images,
    forget_shapes,
    list_for_meta,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_made_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    load(DIGITS, cache=tmp_path)
    damage(only(tmp_path))
    arrays, digest = load(DIGITS, cache=tmp_path)
    assert digest == HASH
    assert type(arrays)(**arrays.parts(), classes=arrays.classes).hash == HASH
    assert sorted(path.name for path in only(tmp_path).iterdir()) == [
        "meta.json",
        "test_images.npy",
        "test_labels.npy",
        "train_images.npy",
        "train_labels.npy",
    ]


def test_many_makers_at_once_do_no_harm(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load(DIGITS, cache=tmp_path), range(8)))
    assert {digest for _, digest in made} == {HASH}
    assert all((arrays.train_images == made[0][0].train_images).all() for arrays, _ in made)
    only(tmp_path)


def test_one_maker_of_many_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that start together on a machine wait for one of them."""
    decode, decoded = type(DIGITS).decode, []

    def slowly(*arguments: Any) -> Any:
        decoded.append(arguments)
        time.sleep(0.5)
        return decode(*arguments)

    monkeypatch.setattr(type(DIGITS), "decode", slowly)
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(lambda _: load(DIGITS, cache=tmp_path)[1], range(4)))
    assert hashes == [HASH] * 4
    assert len(decoded) == 1
    assert only(tmp_path).name == f"digits-{identity(DIGITS, None)}"


def test_meta_says_where_images_came_from(tmp_path: Path, source: Callable[[str], Path]) -> None:
    load(DIGITS, cache=tmp_path / "cache")
    meta = json.loads((only(tmp_path / "cache") / "meta.json").read_text())
    assert meta["source"] == "official or built in"
    assert meta["classes"] == list("0123456789")
    folder = source("imagefolder")
    load(datasets.make("imagefolder"), source=folder, cache=tmp_path / "other")
    assert json.loads((only(tmp_path / "other") / "meta.json").read_text())["source"] == str(folder)


def test_identity_follows_fields_path_and_contents(tmp_path: Path, source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    first = identity(datasets.make("imagefolder"), folder)
    assert first == identity(datasets.make("imagefolder"), folder)
    assert first != identity(datasets.make("imagefolder", resolution=16), folder)
    picture = next(folder.rglob("*.png"))
    os.utime(picture, (1, 1))
    touched = identity(datasets.make("imagefolder"), folder)
    assert touched != first
    picture.write_bytes(picture.read_bytes() + b"\0")
    os.utime(picture, (1, 1))
    assert identity(datasets.make("imagefolder"), folder) != touched
    moved = folder.rename(tmp_path / "moved")
    last = identity(datasets.make("imagefolder"), moved)
    assert last not in {first, touched, identity(datasets.make("imagefolder"), tmp_path)}


def test_a_relative_path_is_the_same_source(
    tmp_path: Path, source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source("fashion-mnist")
    monkeypatch.chdir(tmp_path)
    dataset = datasets.make("fashion-mnist")
    assert identity(dataset, Path("fashion-mnist")) == identity(dataset, folder)


def test_a_failure_leaves_nothing(tmp_path: Path, source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    (folder / "top" / "test" / "a" / "40.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"cannot decode test/a/.*expected an image, got 10 damaged"):
        load(datasets.make("imagefolder"), source=folder, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write decoded images to the cache folder .*file"):
        load(DIGITS, cache=tmp_path / "file" / "cache")


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UsageError, match=r"cannot write decoded images to the cache folder .*: .*written"):
            load(DIGITS, cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
