"""Small sources that unpack to much are refused before they fill the memory."""

import gzip
import io
import lzma
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from basin.data import datasets
from basin.data.archives import read_source
from basin.data.images import decode_images
from basin.data.limits import Limits
from basin.data.unpacking import unpack_gzip
from basin.errors import UsageError

MIB = 1 << 20
SIZE = 600 * MIB


def zeros_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("train/a/0.png", "w") as member:
        for _ in range(SIZE // MIB):
            member.write(bytes(MIB))


def zeros_tar(path: Path) -> None:
    member = tarfile.TarInfo("train/a/0.png")
    member.size = SIZE
    with lzma.open(path, "wb", preset=0) as out:
        out.write(member.tobuf())
        for _ in range(SIZE // MIB):
            out.write(bytes(MIB))
        out.write(bytes(10240))


@pytest.mark.slow
@pytest.mark.parametrize("make", [zeros_zip, zeros_tar])
def test_a_bomb_is_refused_before_it_goes_off(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "images"
    make(path)
    assert path.stat().st_size < MIB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=r"images unpacks to .*limit of 200 \(ratio\).*_MAX_RATIO higher"):
        read_source(path, lambda _: True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def small_zip(path: Path, count: int = 3) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", bytes(1000))
    return path


@pytest.mark.parametrize(("name", "limit"), [("FILE", 999), ("TOTAL", 2500)])
@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_each_limit_is_named_and_can_be_set(
    name: str, limit: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images"
    if kind == "zip":
        small_zip(path)
    elif kind == "tar":
        with tarfile.open(path, "w:gz") as archive:
            for number in range(3):
                member = tarfile.TarInfo(f"{number}.png")
                member.size = 1000
                archive.addfile(member, io.BytesIO(bytes(1000)))
    else:
        path.mkdir()
        for number in range(3):
            (path / f"{number}.png").write_bytes(bytes(1000))
    assert len(read_source(path, lambda _: True).files) == 3
    monkeypatch.setenv(f"SINGLE_BASIN_MAX_{name}", str(limit))
    with pytest.raises(UsageError, match=rf"unpacks to .* bytes, more than the limit of {limit:,} ") as caught:
        read_source(path, lambda _: True)
    assert f"({name.lower()})" in str(caught.value)
    assert f"set SINGLE_BASIN_MAX_{name} higher" in str(caught.value)
    assert ("0.png" in str(caught.value)) == (name == "FILE")


def test_the_ratio_counts_from_a_quarter_of_a_gigabyte() -> None:
    limits = Limits(ratio=10)
    limits.check_total("images", 256 * MIB, 1)
    with pytest.raises(UsageError, match=r"images unpacks to 268,435,457 bytes from 1, .*limit of 10 \(ratio\)"):
        limits.check_total("images", 256 * MIB + 1, 1)
    limits.check_total("images", 256 * MIB + 1, 26 * MIB)


def test_a_gzipped_file_is_unpacked_as_far_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(bytes(5000)) + gzip.compress(b"more")
    assert unpack_gzip("labels.gz", packed) == bytes(5000) + b"more"
    monkeypatch.setenv("SINGLE_BASIN_MAX_FILE", "5003")
    with pytest.raises(UsageError, match=r"labels.gz unpacks to 5,004 bytes, more than the limit of 5,003 \(file\)"):
        unpack_gzip("labels.gz", packed)


def test_too_many_pixels_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 9_000)).save(stream, "PNG")
    with pytest.raises(UsageError, match=r"train/a/0.png unpacks to 20000×9000 pixels, .*178,956,970 \(pixels\)"):
        decode_images({"train/a/0.png": stream.getvalue()}, 8)
    stream = io.BytesIO()
    Image.new("RGB", (100, 100)).save(stream, "PNG")
    monkeypatch.setenv("SINGLE_BASIN_MAX_TOTAL", "59999")
    with pytest.raises(UsageError, match=r"2 images of 100×100 unpacks to 60,000 bytes"):
        decode_images({"0.png": stream.getvalue(), "1.png": stream.getvalue()}, None)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e9", ""])
def test_a_limit_is_a_positive_integer(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLE_BASIN_MAX_FILE", value)
    with pytest.raises(UsageError, match=rf"SINGLE_BASIN_MAX_FILE={value}: expected a positive integer"):
        datasets.make("imagefolder").decode(small_zip(tmp_path / "images.zip"), tmp_path)
