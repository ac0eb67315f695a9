"""A source is read whole, or refused with its culprit."""

import bz2
import gzip
import io
import os
import pickle
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basin.data import Arrays, DataSplit, datasets, load_arrays, split_data
from basin.errors import UsageError
from tests.support.users import NOBODY, as_user, open_to_others

Picture = Callable[..., bytes]
ORDER = [(split, label, number) for split in ("test", "train") for number in range(20) for label in "ab"]


def decode(name: str, source: Path, **fields: Any) -> Arrays:
    return datasets.make(name, **fields).decode(source, Path("nowhere"))


def packed(picture: Picture, members: Iterable[tuple[str, str, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for split, label, number in members:
            content = picture(number, 16)
            member = tarfile.TarInfo(f"{split}/{label}/{number}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "culprit"),
    [
        ("header", r"bad checksum at byte \d+"),
        ("header, bz2", r"bad checksum at byte \d+"),
        ("zero tail", r"its last [\d,]+ bytes are zeros"),
        ("cat of two", "more data after its end mark: another archive is appended"),
        ("no end", r"empty header at byte \d+"),
        ("half", "unexpected end of data"),
    ],
)
def test_a_tar_that_stops_is_refused(damage: str, culprit: str, picture: Picture, tmp_path: Path) -> None:
    whole, path = packed(picture, ORDER), tmp_path / "images.tar"
    path.write_bytes(whole)
    assert len(decode("imagefolder", path).train_images) == 40
    with tarfile.open(path) as archive:
        at = [member.offset for member in archive][60]
    flipped = whole[: at + 5] + bytes([whole[at + 5] ^ 1]) + whole[at + 6 :]
    cases = {
        "header": flipped,
        "header, bz2": bz2.compress(flipped),
        "zero tail": whole[:at] + bytes(len(whole) - at),
        "cat of two": packed(picture, ORDER[:60]) + packed(picture, ORDER[60:]),
        "no end": whole[:at],
        "half": whole[: at - 100],
    }
    path.write_bytes(cases[damage])
    with pytest.raises(UsageError, match=rf"cannot read .*images.tar \({culprit}"):
        decode("imagefolder", path)


def cifar_archive(path: Path) -> Path:
    draw = np.random.default_rng(0)
    names = [*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]
    tables: dict[str, Any] = {
        name: {b"data": draw.integers(0, 256, (20, 3072), np.uint8), b"labels": [i % 10 for i in range(20)]}
        for name in names
    }
    tables["batches.meta"] = {b"label_names": [b"c%d" % label for label in range(10)]}
    with tarfile.open(path, "w:gz") as archive:
        for name, table in tables.items():
            raw = pickle.dumps(table, 2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def test_a_flipped_bit_of_a_gzipped_archive_is_refused(tmp_path: Path) -> None:
    path = cifar_archive(tmp_path / "cifar-10-python.tar.gz")
    arrays, whole = decode("cifar10", path), path.read_bytes()
    assert any("not the published contents (MD5): batches.meta, data_batch_1" in note for note in arrays.account.notes)
    for place in (0.3, 0.5, 0.7, 0.8, 1):
        bad = bytearray(whole)
        bad[min(int(len(bad) * place), len(bad) - 6)] ^= 16
        path.write_bytes(bad)
        with pytest.raises(UsageError, match=r"cannot read .*cifar-10-python.tar.gz"):
            decode("cifar10", path)
    path.write_bytes(whole + b"more")
    with pytest.raises(UsageError, match=r"cannot read .*cifar-10-python.tar.gz"):
        decode("cifar10", path)


def test_published_checksums_are_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import hashlib

    from basin.data import official

    path = cifar_archive(tmp_path / "mine.tar.gz")
    with tarfile.open(path) as archive:
        for member in archive:
            raw = archive.extractfile(member)
            assert raw is not None
            monkeypatch.setitem(official.MD5, Path(member.name).name, hashlib.md5(raw.read()).hexdigest())
    assert decode("cifar10", path).account.notes == ()


def write_pictures(folder: Path, picture: Picture, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(number, 16))


@pytest.mark.parametrize("pool", ["zpool", "pool"])
@pytest.mark.parametrize(("part", "expected"), [("train/a", 11), ("train/a/more", 17)])
@pytest.mark.parametrize("ending", ["", ".tar", ".tar.gz"])
def test_a_linked_folder_counts_wherever_it_is(
    pool: str, part: str, expected: int, ending: str, picture: Picture, tmp_path: Path
) -> None:
    top = tmp_path / "top"
    for folder, count in ((pool, 5), ("train/b", 6), ("test/b", 2), ("test/a", 2)):
        write_pictures(top / folder, picture, count)
    if part != "train/a":
        write_pictures(top / "train/a", picture, 6)
    (top / part).symlink_to(os.path.relpath(top / pool, (top / part).parent))
    source = top
    if ending:
        source = tmp_path / f"top{ending}"
        with tarfile.open(source, "w:gz" if ending.endswith("gz") else "w") as archive:
            archive.add(top, ".")
    arrays = decode("imagefolder", source)
    assert len(arrays.train_images) == expected
    assert arrays.hash == decode("imagefolder", top).hash


@pytest.mark.parametrize("kind", ["hard", "soft", "chain"])
@pytest.mark.parametrize("ending", ["", ".tar.xz", ".zip"])
def test_links_to_files_are_files(kind: str, ending: str, picture: Picture, tmp_path: Path) -> None:
    top = tmp_path / "top"
    for split in ("train", "test"):
        for label in "ab":
            write_pictures(top / split / label, picture, 3)
    first = top / "train/a/0.png"
    (top / "train/a/1.png").unlink()
    if kind == "hard":
        (top / "train/a/1.png").hardlink_to(first)
    else:
        (top / "train/a/1.png").symlink_to("2.png" if kind == "chain" else "0.png")
        if kind == "chain":
            (top / "train/a/2.png").unlink()
            (top / "train/a/2.png").symlink_to("../a/0.png")
    source = top
    if ending == ".tar.xz":
        source = tmp_path / "top.tar.xz"
        with tarfile.open(source, "w:xz") as archive:
            archive.add(top, ".")
    elif ending:
        source = tmp_path / "top.zip"
        with zipfile.ZipFile(source, "w") as zipped:
            for path in sorted(top.rglob("*.png")):
                info = zipfile.ZipInfo(path.relative_to(top).as_posix())
                info.external_attr = (0o120777 if path.is_symlink() else 0o100644) << 16
                zipped.writestr(info, str(path.readlink()) if path.is_symlink() else path.read_bytes())
    arrays = decode("imagefolder", source)
    assert len(arrays.train_images) == 6
    assert (arrays.train_images[0] == arrays.train_images[1]).all()


def test_links_that_are_not_fetched_are_refused(picture: Picture, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in "ab":
            write_pictures(tmp_path / split / label, picture, 3)
    (tmp_path / "train/b/1.png").unlink()
    (tmp_path / "train/b/1.png").symlink_to("../.git/annex/1")
    with pytest.raises(UsageError, match=r"train/b/1.png is a link to ../.git/annex/1, which is not there: fetch it"):
        decode("imagefolder", tmp_path)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_folders_and_files_that_may_not_be_read_are_refused(picture: Picture, tmp_path: Path) -> None:
    open_to_others(tmp_path)
    for split in ("train", "test"):
        for label in "ab":
            write_pictures(tmp_path / split / label, picture, 3)

    def load() -> None:
        load_arrays(datasets.make("imagefolder"), source=tmp_path, cache=tmp_path / "cache")

    secret = tmp_path / "train/a/1.png"
    secret.chmod(0)
    assert f"UsageError: cannot read {secret}: Permission denied" in as_user(NOBODY, lambda: decode_quietly(tmp_path))
    secret.chmod(0o644)
    (tmp_path / "train/b").chmod(0)
    assert f"UsageError: cannot read the folder {tmp_path}/train/b: Permission denied" in as_user(NOBODY, load)
    (tmp_path / "train/b").chmod(0o755)
    assert as_user(NOBODY, lambda: decode_quietly(tmp_path)) == "None"


def decode_quietly(source: Path) -> None:
    decode("imagefolder", source)


def test_two_datasets_below_one_folder_are_refused(source: Callable[[str], Path], tmp_path: Path) -> None:
    fashion = source("fashion-mnist")
    other = fashion / "MNIST" / "train-labels-idx1-ubyte"
    other.parent.mkdir()
    other.write_bytes((fashion / other.name).read_bytes())
    arrays = decode("fashion-mnist", fashion)
    assert ("the same file again", 1, "train-labels-idx1-ubyte") in arrays.account.passed
    other.write_bytes(other.read_bytes()[:-1] + b"\1")
    with pytest.raises(UsageError, match=r"two different files train-labels-idx1-ubyte, MNIST/.* and train-labels"):
        decode("fashion-mnist", fashion)
    other.unlink()
    packed = fashion / "train-labels-idx1-ubyte.gz"
    packed.write_bytes(gzip.compress((fashion / "train-labels-idx1-ubyte").read_bytes()))
    assert decode("fashion-mnist", fashion).hash == arrays.hash
    packed.write_bytes(gzip.compress((fashion / "train-labels-idx1-ubyte").read_bytes()[:-1] + b"\1"))
    with pytest.raises(UsageError, match=r"two different files train-labels-idx1-ubyte, .*ubyte and .*ubyte.gz"):
        decode("fashion-mnist", fashion)

    cifar = source("cifar10")
    (cifar / "old").mkdir()
    (cifar / "old" / "data_batch_2").write_bytes((cifar / "cifar-10" / "data_batch_3").read_bytes())
    with pytest.raises(UsageError, match=r"files data_batch_2, cifar-10/data_batch_2 and old/data_batch_2"):
        decode("cifar10", cifar)

    tiny = source("tiny-imagenet")
    copy = tiny / "copy" / "train" / "n01" / "images" / "x.JPEG"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(next(tiny.rglob("n01_*.JPEG")).read_bytes())
    with pytest.raises(UsageError, match=r"two datasets, in copy and tiny-imagenet-200: give the folder of one"):
        decode("tiny-imagenet", tiny)


def test_two_folders_of_classes_are_refused_unless_one_is_around(source: Callable[[str], Path]) -> None:
    folder = source("imagefolder")
    expected = decode("imagefolder", folder).hash
    (folder / "other").symlink_to("top")
    with pytest.raises(UsageError, match=r"holds 2 datasets, other/train/ and top/train/: give the folder of one"):
        decode("imagefolder", folder)
    (folder / "other").unlink()
    (folder / "top" / "old").mkdir()
    (folder / "top" / "old" / "train").symlink_to("../train")
    arrays = decode("imagefolder", folder)
    assert arrays.hash == expected
    assert [(count, why) for why, count, _ in arrays.account.passed] == [
        (40, "not in top/train/CLASS/ or top/test/CLASS/")
    ]


@pytest.mark.parametrize("last", [True, False])
def test_channels_last_are_put_first(last: bool, source: Callable[[str], Path]) -> None:
    folder = source("cifar10") / "cifar-10"
    expected = decode("cifar10", folder).hash
    for path in folder.glob("*batch*"):
        if path.name != "batches.meta":
            table = pickle.loads(path.read_bytes(), encoding="bytes")
            table[b"data"] = table[b"data"].reshape(-1, 3, 32, 32)
            if last:
                table[b"data"] = np.ascontiguousarray(table[b"data"].transpose(0, 2, 3, 1))
            path.write_bytes(pickle.dumps(table, 2))
    assert decode("cifar10", folder).hash == expected


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_1", {b"labels": [label + 0.9 for label in range(10)] * 2}, "that are no list of integers"),
        ("data_batch_1", {b"labels": [float("nan")] * 20}, "that are no list of integers"),
        ("data_batch_1", {b"labels": [10**30] * 20}, "that are no list of integers"),
        ("data_batch_1", {b"labels": [[label % 10] for label in range(20)]}, r"labels of shape \(20, 1\)"),
        ("data_batch_1", {b"data": np.zeros((3072, 20), np.uint8)}, r"pixels of shape \(3072, 20\)"),
        ("batches.meta", {b"label_names": [b"c"] * 9}, "9 names of classes"),
    ],
)
def test_cifar_tables_of_another_form_are_refused(
    name: str, change: dict[bytes, Any], message: str, source: Callable[[str], Path]
) -> None:
    path = source("cifar10") / "cifar-10" / name
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes(), encoding="bytes") | change, 2))
    with pytest.raises(UsageError, match=message):
        decode("cifar10", path.parent)


def write_zip(path: Path, names: Iterable[str], content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is, backslashes too
            archive.writestr(info, content)
    return path


GOOD = [f"{split}/{label}/0.png" for split in ("train", "test") for label in "ab"]
NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ([name.replace("/", "\\") for name in GOOD], ("a", "b")),
        ([f"outer/inner/{name}" for name in GOOD], ("a", "b")),
        (["logo.png", *(f"top/{name}" for name in GOOD)], ("a", "b")),
        ([*GOOD, "val/images/0.png"], ("a", "b")),
        ([f"train/{NFD}/0.png", f"test/{NFC}/0.png", "train/f/0.png"], (NFC, "f")),
    ],
)
def test_layouts_of_real_archives_are_read(
    names: list[str], classes: tuple[str, ...], picture: Picture, tmp_path: Path
) -> None:
    arrays = decode("imagefolder", write_zip(tmp_path / "images.zip", names, picture(0, 16)))
    assert arrays.classes == classes
    assert len(arrays.train_images) + len(arrays.test_images) + sum(n for _, n, _ in arrays.account.passed) == len(
        names
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([name.capitalize() for name in GOOD], "found a folder 'Test': rename it to test"),
        ([name.replace("test", "valid") for name in GOOD], "found a folder 'valid': rename it to val"),
        ([name.replace("train", "training") for name in GOOD], "found a folder 'training': rename it to train"),
        ([*(n.replace("test", "val") for n in GOOD), "test/images/0.png"], "are in val/: .*move test/ away"),
        (["train/a /0.png", "test/a/0.png"], "train/ spells it 'a ' and test/ 'a': rename one"),
        (["train/A/0.png", "test/a/0.png"], "train/ spells it 'A' and test/ 'a': rename one"),
        ([f"train/{NFC}/0.png", f"train/{NFD}/1.png", f"test/{NFC}/0.png"], "one name in two spellings"),
        (["a/0.png", "b/0.png"], "make the folders train/ and test/"),
        (["train/a/0.png", "train/b/0.png"], "found no test images: move some"),
        (["train/0.png", "test/a/0.png"], "found train/0.png without a class: move it into train/CLASS/"),
        (["test/a/0.png"], "move training images into train/CLASS/"),
        (["cifar-10-batches-py/data_batch_1"], "found data_batch_1, a file of another dataset"),
        (["notes.txt", "more.txt"], "found more.txt and 1 other files that are not images"),
        ([".hidden/train/a/0.png"], "found no file"),
    ],
)
def test_layouts_that_cannot_be_read_say_what_to_rename(
    names: list[str], message: str, picture: Picture, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        decode("imagefolder", write_zip(tmp_path / "images.zip", names, picture(0, 16)))
    assert "\n" not in str(caught.value)


def test_two_entries_of_one_name_are_refused(tmp_path: Path, picture: Picture) -> None:
    path = write_zip(tmp_path / "images.zip", GOOD, picture(0, 16))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(GOOD[0], picture(0, 16))
    assert len(decode("imagefolder", path).train_images) == 2
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(GOOD[0], picture(1, 16))
    with pytest.raises(UsageError, match=rf"two files {GOOD[0]} of different contents"):
        decode("imagefolder", path)


def test_a_zip_that_lists_fewer_files_than_it_says_is_refused(tmp_path: Path, picture: Picture) -> None:
    path = write_zip(tmp_path / "images.zip", GOOD, picture(0, 16))
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\5\6") + 10] += 1
    path.write_bytes(raw)
    with pytest.raises(UsageError, match="its directory has 4 of 5 entries"):
        decode("imagefolder", path)


def many(counts: Iterable[int]) -> Arrays:
    labels = np.repeat(np.arange(len(list(counts := list(counts)))), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8), np.uint8)
    return Arrays(images, labels, images, labels, tuple(f"c{label}" for label in range(len(counts))))


def test_validation_leaves_an_image_of_every_class() -> None:
    dataset = datasets.make("imagefolder")
    with pytest.raises(UsageError, match=r"all training images of 2 classes: c3 \(1\), c4 \(1\): add images"):
        split_data(many([20, 20, 20, 1, 1]), dataset, DataSplit())
    with pytest.raises(UsageError, match=r"val_size=78 takes all training images of 1 classes: c1 \(2\)"):
        split_data(many([80, 2]), dataset, DataSplit(val_size=78))
    data = split_data(many([20, 20, 2]), dataset, DataSplit())
    assert np.bincount(data.train.labels).min() >= 1
    assert data.class_names == ("c0", "c1", "c2")


def test_one_class_is_no_task() -> None:
    with pytest.raises(UsageError, match="all 20 training images are of class c0: expected two classes or more"):
        split_data(many([20]), datasets.make("imagefolder"), DataSplit())


def test_training_and_test_images_have_one_shape() -> None:
    images, labels = np.zeros((2, 1, 8, 8), np.uint8), np.arange(2)
    with pytest.raises(ValueError, match=r"training images of shape \(1, 8, 8\), test images of \(1, 4, 4\)"):
        Arrays(images, labels, images[:, :, :4, :4], labels, ("a", "b"))
