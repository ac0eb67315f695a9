"""The cache: made once, whole or not at all, rebuilt where damaged."""

import json
import os
import resource
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basin.data import datasets, load_arrays
from basin.data.cache import source_identity
from basin.errors import UsageError
from tests.support.users import NOBODY, as_user, open_to_others

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
    load_arrays(DIGITS, cache=tmp_path)
    damage(only(tmp_path))
    arrays, digest = load_arrays(DIGITS, cache=tmp_path)
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
        made = list(pool.map(lambda _: load_arrays(DIGITS, cache=tmp_path), range(8)))
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
        hashes = list(pool.map(lambda _: load_arrays(DIGITS, cache=tmp_path)[1], range(4)))
    assert hashes == [HASH] * 4
    assert len(decoded) == 1
    assert only(tmp_path).name == f"digits-{source_identity(DIGITS, None)}"


def test_meta_says_where_images_came_from(tmp_path: Path, source: Callable[[str], Path]) -> None:
    load_arrays(DIGITS, cache=tmp_path / "cache")
    meta = json.loads((only(tmp_path / "cache") / "meta.json").read_text())
    assert meta["source"] == "official or built in"
    assert meta["classes"] == list("0123456789")
    folder = source("imagefolder")
    load_arrays(datasets.make("imagefolder"), source=folder, cache=tmp_path / "other")
    assert json.loads((only(tmp_path / "other") / "meta.json").read_text())["source"] == str(folder)


def test_identity_follows_fields_path_and_contents(tmp_path: Path, source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    first = source_identity(datasets.make("imagefolder"), folder)
    assert first == source_identity(datasets.make("imagefolder"), folder)
    assert first != source_identity(datasets.make("imagefolder", resolution=16), folder)
    picture = next(folder.rglob("*.png"))
    os.utime(picture, (1, 1))
    touched = source_identity(datasets.make("imagefolder"), folder)
    assert touched != first
    picture.write_bytes(picture.read_bytes() + b"\0")
    os.utime(picture, (1, 1))
    assert source_identity(datasets.make("imagefolder"), folder) != touched
    moved = folder.rename(tmp_path / "moved")
    last = source_identity(datasets.make("imagefolder"), moved)
    assert last not in {first, touched, source_identity(datasets.make("imagefolder"), tmp_path)}


def test_a_relative_path_is_the_same_source(
    tmp_path: Path, source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source("fashion-mnist")
    monkeypatch.chdir(tmp_path)
    dataset = datasets.make("fashion-mnist")
    assert source_identity(dataset, Path("fashion-mnist")) == source_identity(dataset, folder)


def test_a_failure_leaves_nothing(tmp_path: Path, source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    (folder / "top" / "test" / "a" / "40.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"cannot decode top/test/a/.*expected an image, got 10 damaged"):
        load_arrays(datasets.make("imagefolder"), source=folder, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write decoded images to the cache folder .*file"):
        load_arrays(DIGITS, cache=tmp_path / "file" / "cache")


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UsageError, match=r"cannot write decoded images to the cache folder .*: .*written"):
            load_arrays(DIGITS, cache=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def modes(cache: Path) -> dict[str, str]:
    return {path.name: f"{stat.S_IMODE(path.stat().st_mode):o} of {path.stat().st_uid}" for path in cache.iterdir()}


def test_permissions_are_those_the_umask_leaves(tmp_path: Path) -> None:
    for mask, folder_mode, file_mode in ((0o022, 0o755, 0o644), (0o002, 0o775, 0o664), (0o077, 0o700, 0o600)):
        before = os.umask(mask)
        try:
            load_arrays(DIGITS, cache=tmp_path / f"{mask:o}")
        finally:
            os.umask(before)
        folder = only(tmp_path / f"{mask:o}")
        assert stat.S_IMODE(folder.stat().st_mode) == folder_mode
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {file_mode}


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@needs_root
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o777])
def test_two_users_share_a_cache(mode: int, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    open_to_others(tmp_path)
    cache.chmod(mode)
    before = os.umask(0o022)
    try:
        for user in (0, 65534, 0):
            assert as_user(user, lambda: load_arrays(DIGITS, cache=cache)[1]) == HASH
    finally:
        os.umask(before)
    assert modes(cache) == {f"digits-{source_identity(DIGITS, None)}": "755 of 0"}


@needs_root
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_another_users_folder_is_left_alone(mode: int, tmp_path: Path) -> None:
    """Unreadable or damaged: it may be sound for its owner, and is not ours to replace."""
    cache = tmp_path / "cache"
    cache.mkdir()
    open_to_others(tmp_path)
    cache.chmod(mode)
    load_arrays(DIGITS, cache=cache)
    shared = only(cache)
    shared.chmod(0o700)
    content = (shared / "train_images.npy").read_bytes()
    for damage in (False, True):
        if damage:
            shared.chmod(0o755)
            empty_images(shared)
            content = b""
        for _ in range(2):
            assert as_user(NOBODY, lambda: load_arrays(DIGITS, cache=cache)[1]) == HASH
        assert (shared / "train_images.npy").read_bytes() == content
        own = cache / f"{shared.name}-user65534"
        assert sorted(modes(cache)) == sorted([shared.name, own.name])
    assert load_arrays(DIGITS, cache=cache)[1] == HASH
    assert (shared / "train_images.npy").stat().st_size


@needs_root
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_warm_cache_may_be_read_only(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    load_arrays(DIGITS, cache=tmp_path / "cache")
    (tmp_path / "cache").chmod(0o555)
    assert as_user(NOBODY, lambda: load_arrays(DIGITS, cache=tmp_path / "cache")[1]) == HASH
    assert "UsageError: cannot write decoded images to the cache folder" in as_user(
        NOBODY, lambda: load_arrays(DIGITS, cache=tmp_path / "other")
    )


def test_an_account_is_kept(tmp_path: Path, source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    (folder / "top" / "notes.txt").write_text("notes")
    first, _ = load_arrays(datasets.make("imagefolder"), source=folder, cache=tmp_path / "cache")
    again, _ = load_arrays(datasets.make("imagefolder"), source=folder, cache=tmp_path / "cache")
    expected = datasets.make("imagefolder").decode(folder, tmp_path).account
    assert first.account == again.account == expected
    assert expected.kinds == {"32×32 RGB": 60}
    assert expected.passed == (("not part of the dataset", 1, "top/notes.txt"),)
    assert expected.layout == "top/train/CLASS/IMAGE and top/test/CLASS/IMAGE"


def test_the_cache_of_an_older_decoder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from basin.data import cache

    assert cache.LAYOUT == 2
    now = source_identity(DIGITS, None)
    monkeypatch.setattr(cache, "LAYOUT", 1)
    assert source_identity(DIGITS, None) != now


def test_new_contents_of_the_same_size_and_time_are_another_source(
    tmp_path: Path, source: Callable[[str], Path]
) -> None:
    """Archives that are built reproducibly give every file the same time."""
    folder = source("fashion-mnist")
    path = folder / "t10k-labels-idx1-ubyte"
    os.utime(path, (0, 0))
    first, _ = load_arrays(datasets.make("fashion-mnist"), source=folder, cache=tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, (0, 0))
    again, _ = load_arrays(datasets.make("fashion-mnist"), source=folder, cache=tmp_path / "cache")
    assert first.hash != again.hash
    assert again.test_labels[-1] == 1
