"""Mutated sources give what was packed, or one line that refuses them.

Archives are compared with what was packed into them: zip, gzip, xz and bz2 have checksums, and so have the PNG files in
them. Images are compared with slower, independent readers: torchvision's, and a few lines of Python.
"""

import io
import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io  # type: ignore[import-untyped]
from PIL import Image

from basin.data import datasets
from basin.data.images import decode_images
from basin.data.unpacking import unpack_gzip
from basin.errors import UsageError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of damaged metadata and names, which libraries warn of
]
MUTANTS = int(os.environ.get("BASIN_MUTANTS", "1000"))
"""Mutants of each kind: the same ones in every run, on every machine. More of them search further."""


def mutants(content: bytes, seed: int) -> Iterator[bytes]:
    """Flipped bits, changed, removed, repeated and inserted bytes, cut ends."""
    draw = random.Random(seed)
    for _ in range(MUTANTS):
        raw, at = bytearray(content), draw.randrange(len(content))
        size = draw.choice((1, 1, 4, 16, 512))
        match draw.randrange(7):
            case 0 | 1:
                raw[at] ^= 1 << draw.randrange(8)
            case 2:
                raw[at : at + size] = draw.randbytes(len(raw[at : at + size]))
            case 3:
                del raw[at : at + size]
            case 4:
                raw[at:at] = raw[at : at + size]
            case 5:
                del raw[at:]
            case _:
                raw[at : at + size] = bytes(len(raw[at : at + size]))
        yield bytes(raw)


def refused(work: Callable[[], Any]) -> Any:
    """The result, or None if it is refused in one line."""
    try:
        return work()
    except UsageError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 600
    return None


def pictures(picture: Callable[..., bytes]) -> dict[str, bytes]:
    return {
        f"{split}/{label}/{i}.png": picture(i, 8) for split in ("train", "test") for label in "ab" for i in range(3)
    }


def zipped(files: dict[str, bytes], method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w{mode}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("train/b/link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "train/b/0.png"
        archive.addfile(link)
    return out.getvalue()


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "stored.zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "deflated.zip": lambda files: zipped(files, zipfile.ZIP_DEFLATED),
    "plain.tar": lambda files: tarred(files, ""),
    "images.tar.gz": lambda files: tarred(files, ":gz"),
    "images.tar.bz2": lambda files: tarred(files, ":bz2"),
    "images.tar.xz": lambda files: tarred(files, ":xz"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_mutated_archives_hold_what_was_packed_or_are_refused(
    kind: str, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    path, dataset = tmp_path / kind, datasets.make("imagefolder")
    whole = ARCHIVES[kind](pictures(picture))
    path.write_bytes(whole)
    expected = dataset.decode(path, tmp_path).hash
    for raw in mutants(whole, seed=len(kind)):
        path.write_bytes(raw)
        found = refused(lambda: dataset.decode(path, tmp_path))
        if found is not None:
            assert found.hash == expected


def test_mutated_gzip_files_hold_what_was_packed_or_are_refused() -> None:
    import gzip

    from basin.data.archives import DAMAGED

    content = random.Random(0).randbytes(500) + bytes(500)
    for raw in mutants(gzip.compress(content), seed=1):
        try:
            assert unpack_gzip("labels.gz", raw) in (content, b"")
            assert raw.startswith(b"\x1f\x8b") or not raw.strip(b"\0")
        except (UsageError, *DAMAGED):
            pass


def slow_png(raw: bytes) -> Any:
    """An 8-bit RGB PNG without interlacing, a byte at a time (PNG specification, sections 5 and 9)."""
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while True:
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        content = raw[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + content) == struct.unpack(">I", raw[at + 8 + size : at + 12 + size])[0]
        at += 12 + size
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            assert (bits, colour, interlaced) == (8, 2, 0)
        elif kind == b"IDAT":
            packed += content
        elif kind == b"IEND":
            break
        else:
            assert kind[0] & 32, "a critical chunk"
    data, rows, stride = zlib.decompress(packed), [bytearray(width * 3)], width * 3
    for y in range(height):
        kind_of, line = data[y * (stride + 1)], bytearray(data[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        above = rows[-1]
        for x in range(stride):
            left, up, corner = (line[x - 3], above[x], above[x - 3]) if x > 2 else (0, above[x], 0)
            guess = left + up - corner
            near = min((left, up, corner), key=lambda value: abs(guess - value))
            line[x] = (line[x] + (0, left, up, (left + up) // 2, near)[kind_of]) & 255
        rows.append(line)
    return np.array([list(row) for row in rows[1:]], np.uint8).reshape(height, width, 3).transpose(2, 0, 1)


def slow_pnm(raw: bytes) -> Any:
    """A P5 or P6 file of one line of header and 255 as its maximum."""
    head, _, pixels = raw.partition(b"\n")
    magic, width, height, highest = head.split()
    assert highest == b"255"
    channels = {b"P5": 1, b"P6": 3}[magic]
    shape = (int(height), int(width), channels)
    values = np.frombuffer(pixels[: int(np.prod(shape))], np.uint8).reshape(shape)
    return np.broadcast_to(values, (*shape[:2], 3)).transpose(2, 0, 1)


def slow_bmp(raw: bytes) -> Any:
    """A BMP of 24 bits, stored from the bottom to the top in lines padded to four bytes."""
    start, size, width, height, planes, bits, packed = (
        *struct.unpack("<I", raw[10:14]),
        *struct.unpack("<IiiHHI", raw[14:34]),
    )
    assert (raw[:2], size, planes, bits, packed) == (b"BM", 40, 1, 24, 0)
    assert width > 0
    assert height > 0
    assert start >= 14 + size, "pixels inside the headers: readers differ"
    stride = (width * 3 + 3) // 4 * 4
    lines = [raw[start + y * stride : start + y * stride + width * 3] for y in reversed(range(height))]
    return np.frombuffer(b"".join(lines), np.uint8).reshape(height, width, 3)[..., ::-1].transpose(2, 0, 1)


TIFF_FIELDS = {254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284}
"""Tags of a plain TIFF; others may change what its pixels mean."""


def slow_tiff(raw: bytes) -> Any:
    """A little-endian TIFF of one uncompressed 8-bit RGB image (TIFF 6.0, sections 2 and 6)."""
    assert raw[:4] == b"II*\0"
    (at,) = struct.unpack("<I", raw[4:8])
    (count,) = struct.unpack("<H", raw[at : at + 2])
    fields = {}
    for k in range(count):
        tag, kind, length, value = struct.unpack("<HHII", raw[at + 2 + 12 * k : at + 14 + 12 * k])
        letter, size = {3: ("H", 2), 4: ("I", 4)}[kind]
        start = at + 10 + 12 * k if size * length <= 4 else value
        assert tag not in fields
        fields[tag] = struct.unpack(f"<{length}{letter}", raw[start : start + size * length])
    assert set(fields) <= TIFF_FIELDS
    assert raw[at + 2 + 12 * count :][:4] == bytes(4), "a second image"
    (width,), (height,), (rows,) = fields[256], fields[257], fields[278]
    assert (fields[258], fields[259], fields[262], fields[277]) == ((8, 8, 8), (1,), (2,), (3,))
    assert (fields.get(254, (0,)), fields.get(284, (1,))) == ((0,), (1,))
    assert width > 0
    assert height > 0
    assert len(fields[273]) == len(fields[279]) == -(-height // rows)
    strips = [raw[start : start + size] for start, size in zip(fields[273], fields[279], strict=True)]
    sizes = [width * 3 * min(rows, height - y) for y in range(0, height, rows)]
    assert [len(strip) for strip in strips] == sizes
    return np.frombuffer(b"".join(strips), np.uint8).reshape(height, width, 3).transpose(2, 0, 1)


def torchvision_reader(raw: bytes) -> Any:
    content = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    mode = torchvision.io.ImageReadMode.RGB
    return torchvision.io.decode_image(content, mode=mode, apply_exif_orientation=True).numpy()


def undefined_gif(raw: bytes, expected: Any) -> bool:
    """Where readers may differ: a canvas around the frame, and colours that the palette does not have."""
    with Image.open(io.BytesIO(raw)) as image:
        image.load()
        colours = len(image.palette.palette) // 3 if image.palette else 256
        return image.size != expected.shape[:0:-1] or int(np.asarray(image).max()) >= colours


READERS: dict[str, tuple[Callable[[bytes], Any] | None, dict[str, Any]]] = {
    "PNG": (slow_png, {}),
    "PPM": (slow_pnm, {}),
    "BMP": (slow_bmp, {}),
    "JPEG": (torchvision_reader, {"quality": 90}),
    "GIF": (torchvision_reader, {}),
    "WEBP": (torchvision_reader, {"lossless": True}),
    "TIFF": (slow_tiff, {}),
    "AVIF": (None, {}),
}
"""Format → an independent reader; None: there is none here, and mutants must only be read or refused."""


@pytest.mark.parametrize("kind", READERS)
def test_mutated_images_are_what_another_reader_sees_or_are_refused(kind: str) -> None:
    reader, options = READERS[kind]
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    whole = stream.getvalue()
    if kind == "PPM":
        whole = whole.replace(b"\n", b" ", 2)
    if reader:
        np.testing.assert_array_equal(decode_images({"0.png": whole}, None).pixels[0], reader(whole))
    compared = 0
    for raw in mutants(whole, seed=len(kind)):
        found = refused(lambda raw=raw: decode_images({"0.png": raw}, None).pixels[0])  # type: ignore[misc]
        if found is None:
            continue
        assert found.dtype == np.uint8
        assert found.ndim == 3
        try:
            expected = None if reader is None else reader(raw)
        except Exception:  # the other reader is stricter
            continue
        if expected is not None and not (kind == "GIF" and undefined_gif(raw, expected)):
            np.testing.assert_array_equal(found, expected)
            compared += 1
    assert compared or reader is None or kind == "PNG", "no mutant was read by both"
