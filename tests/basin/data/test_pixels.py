"""The rule for every kind of pixel, against torchvision's decoder, files written by hand, and the rule in NumPy."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io  # type: ignore[import-untyped]
from PIL import Image

from basin.data import datasets
from basin.data.images import decode_images
from basin.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
RAMP = np.linspace(0, 1, 256).reshape(16, 16)
NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decode(content: bytes, resolution: int | None = None) -> Any:
    return decode_images({"train/a/0.png": content}, resolution).pixels[0]


def second(content: bytes) -> Any:
    """Torchvision's decoder, which shares no code with Pillow."""
    raw = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    mode = torchvision.io.ImageReadMode.RGB
    return torchvision.io.decode_image(raw, mode=mode, apply_exif_orientation=True).numpy()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png16(values: Any, colour: int) -> bytes:
    """A PNG of 16 bits a channel, written without Pillow; `colour` is 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def tiff(values: Any, *, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """A grey TIFF in one strip, written without Pillow."""
    height, width = values.shape
    strip = values.tobytes()
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        strip = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags |= {279: len(strip), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def rounded(values: Any, highest: int) -> Any:
    return np.floor(values.astype(float) * 255 / highest + 0.5).astype(np.uint8)


SIXTEEN = (RAMP * 65535).round().astype("<u2")
TWELVE = (RAMP * 4095).round().astype("<u2")
DEEP: dict[str, tuple[bytes, Any]] = {
    "16-bit PNG": (png16(SIXTEEN, 0), rounded(SIXTEEN, 65535)),
    "16-bit TIFF": (tiff(SIXTEEN, bits=16), rounded(SIXTEEN, 65535)),
    "16-bit TIFF, white is zero": (tiff(SIXTEEN, bits=16, photometric=0), 255 - rounded(SIXTEEN, 65535)),
    "12-bit TIFF": (tiff(TWELVE, bits=12), rounded(TWELVE, 4095)),
    "16-bit PGM": (b"P5 16 16 65535\n" + SIXTEEN.astype(">u2").tobytes(), rounded(SIXTEEN, 65535)),
    "12-bit PGM": (b"P5 16 16 4095\n" + TWELVE.astype(">u2").tobytes(), rounded(TWELVE, 4095)),
    "4-bit PGM": (b"P5 16 16 15\n" + (RAMP * 15).round().astype(np.uint8).tobytes(), rounded((RAMP * 15).round(), 15)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_grey_keeps_its_levels(kind: str) -> None:
    content, expected = DEEP[kind]
    pixels = decode(content)
    assert pixels.shape == (3, 16, 16)
    assert (pixels == pixels[0]).all()
    np.testing.assert_array_equal(pixels[0], expected)


@pytest.mark.parametrize("colour", [2, 6])
def test_sixteen_bits_of_colour_are_within_one_level(colour: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (16, 16, 3 if colour == 2 else 4))
    if colour == 6:
        values[..., 3] = 65535
    pixels = decode(png16(values, colour)).transpose(1, 2, 0).astype(int)
    assert np.abs(pixels - rounded(values[..., :3], 65535)).max() <= 1


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (tiff((RAMP * 65535).astype("<i4"), bits=32, sample_format=2), "mode I .32-bit integers."),
        (tiff((RAMP * 65535).astype("<u4"), bits=32), "mode I .32-bit integers."),
        (tiff((RAMP * 30000).astype("<i2"), bits=16, sample_format=2), "mode I .32-bit integers."),
        (tiff(RAMP.astype("<f4"), bits=32, sample_format=3), "mode F .floating-point numbers."),
    ],
)
def test_pixels_of_unknown_range_are_refused_by_file_and_mode(content: bytes, mode: str) -> None:
    with pytest.raises(UsageError, match=rf"train/a/0.png has pixels of {mode}.*convert it to"):
        decode(content)


def glyph(channels: int, rows: slice, grey: int = 0) -> Any:
    """A shape that is in the alpha channel alone."""
    pixels = np.full((16, 16, channels), grey, np.uint8)
    pixels[..., -1] = 0
    pixels[rows, 2:14, -1] = 255
    return pixels


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("LA", 2)])
def test_shapes_in_the_alpha_channel_are_seen(mode: str, channels: int) -> None:
    for rows in (slice(6, 10), slice(2, 14)):
        pixels = decode(encode(Image.fromarray(glyph(channels, rows)), "PNG"))
        expected = np.full((3, 16, 16), 255)
        expected[:, rows, 2:14] = 0
        np.testing.assert_array_equal(pixels, expected)
    with pytest.raises(UsageError, match=r"train/a/0.png is white on transparent: .*another background"):
        decode(encode(Image.fromarray(glyph(channels, rows, 255)), "PNG"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_half_transparent_pixels_are_mixed_with_white(kind: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (16, 16, 4), np.uint8)
    content = encode(Image.fromarray(pixels), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    expected = np.floor(colour * alpha + 255 * (1 - alpha) + 0.5)
    assert np.abs(decode(content).transpose(1, 2, 0) - expected).max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_colour_that_stands_for_transparency_is_white(mode: str) -> None:
    pixels = np.repeat(np.arange(16, dtype=np.uint8)[:, None] * 10, 16, axis=1)
    image = Image.fromarray(pixels).convert("RGB")
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    clear: Any = (30, 30, 30) if mode == "RGB" else int(np.asarray(image)[3, 0])
    found = decode(encode(image, "PNG", transparency=clear))
    plain = decode(encode(image, "PNG")).copy()
    plain[:, 3] = 255
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photographs_stand_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    stored = encode(Image.fromarray(NOISE), kind, exif=exif, **options)
    plain = decode(encode(Image.fromarray(NOISE), kind, **options))
    turns: dict[int, Callable[[Any], Any]] = {
        1: lambda x: x,
        2: lambda x: x[:, :, ::-1],
        3: lambda x: x[:, ::-1, ::-1],
        4: lambda x: x[:, ::-1],
        5: lambda x: x.transpose(0, 2, 1),
        6: lambda x: x.transpose(0, 2, 1)[:, :, ::-1],
        7: lambda x: x.transpose(0, 2, 1)[:, ::-1, ::-1],
        8: lambda x: x.transpose(0, 2, 1)[:, ::-1],
    }
    np.testing.assert_array_equal(decode(stored), turns[orientation](plain))
    if kind in ("JPEG", "PNG"):
        np.testing.assert_array_equal(decode(stored), second(stored))


PLAIN = {
    "1": ("PNG", {}),
    "L": ("PNG", {}),
    "RGB": ("PNG", {}),
    "P": ("GIF", {}),
    "RGB of JPEG": ("JPEG", {"quality": 90}),
    "L of JPEG": ("JPEG", {"quality": 90}),
    "RGB of WebP": ("WEBP", {"quality": 80}),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_ordinary_images_are_those_of_another_decoder(kind: str) -> None:
    mode = kind.split(maxsplit=1)[0]
    image = Image.fromarray(NOISE).quantize(64) if mode == "P" else Image.fromarray(NOISE).convert(mode)
    name, options = PLAIN[kind]
    content = encode(image, name, **options)
    np.testing.assert_array_equal(decode(content), second(content))


def test_inks_are_subtracted() -> None:
    inks = np.random.default_rng(3).integers(0, 256, (8, 8, 4), np.uint8).astype(int)
    content = encode(Image.fromarray(inks.astype(np.uint8), "CMYK"), "TIFF")
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(decode(content).transpose(1, 2, 0) - expected).max() <= 1


def test_several_pictures_in_one_file_are_refused() -> None:
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(UsageError, match=r"train/a/0.png holds 2 pictures: expected one"):
            decode(content)


def test_a_flipped_bit_of_a_png_is_not_another_picture() -> None:
    content = bytearray(encode(Image.fromarray(NOISE), "PNG"))
    for place in range(60, len(content) - 12, 97):
        content[place] ^= 4
        with pytest.raises(UsageError, match=r"cannot decode train/a/0.png"):
            decode(bytes(content))
        content[place] ^= 4
    assert decode(bytes(content)).shape == (3, 16, 24)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_metadata_do_not_hide_a_picture() -> None:
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    content = encode(Image.fromarray(NOISE), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(content), decode(encode(Image.fromarray(NOISE), "JPEG")))


def test_a_damaged_avif_is_refused() -> None:
    content = encode(Image.fromarray(NOISE), "AVIF")
    for damaged in (content[: len(content) // 2], content[:100] + b"\xff" * (len(content) - 100)):
        with pytest.raises(UsageError, match=r"cannot decode train/a/0.png"):
            decode(damaged)


PINNED = {
    "digits": "7c2b7eeaea25d5af",
    "cifar10": "bede85d1044938c3",
    "cifar100": "9441cce0a346f93f",
    "fashion-mnist": "d51f21f9f896e074",
    "tiny-imagenet": "fc8aa9f245ea8838",
    "imagefolder": "51e86d014437291a",
}
ORDINARY = "1.png L.png P.png RGB.png RGB.bmp L.bmp P.gif L.tif RGB.tif CMYK.tif P.tif L.pgm RGB.ppm"


def test_ordinary_datasets_decode_to_what_version_0_2_read(known: Any, tmp_path: Path) -> None:
    """The hashes are of commit a9c9994: other numbers mean that results of earlier versions no longer compare."""
    dataset, source = known
    assert dataset.decode(source, tmp_path).hash == PINNED[datasets.name(dataset)]


def test_ordinary_images_decode_to_what_version_0_2_read(tmp_path: Path) -> None:
    for number, kind in enumerate(ORDINARY.split()):
        mode, _, ending = kind.partition(".")
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        for split in ("train", "test"):
            path = tmp_path / split / "ab"[number % 2] / f"{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels)
            (image.quantize(16) if mode == "P" else image.convert(mode)).save(path)
    assert datasets.make("imagefolder").decode(tmp_path, tmp_path).hash == "f94b494c96d1a412"
    assert datasets.make("imagefolder", resolution=12).decode(tmp_path, tmp_path).hash == "a390d01eb9cbaad9"
