"""Encoded images (JPEG, PNG, …) to arrays of pixels; docs/data.md states the rule for every kind of pixel."""

import io
import os
import zlib
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from basin.data.archives import MESSAGE
from basin.data.dataset import Array
from basin.data.limits import Limits
from basin.errors import UsageError

SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)
CHUNK = 512
BACKGROUND = 255
"""Grey level behind transparent pixels: white."""
DEEP = {"I": "32-bit integers", "F": "floating-point numbers"}
ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Decoded:
    """Images of one size."""

    pixels: Array
    """RGB, uint8 [N, 3, H, W]."""
    kinds: dict[str, int]
    """Size and mode as stored, such as `32×32 RGB` → number of images."""


def is_image(name: str) -> bool:
    """Return True if a path has the suffix of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def decode_images(files: Mapping[str, bytes], resolution: int | None) -> Decoded:
    """RGB pixels in the order of `files`.

    With a `resolution`, the shorter side is resized to it and the centre kept; without one, all must share one size.
    Raises UsageError naming a file that is not an image or whose pixels have an unknown range, or sizes that differ.
    """
    limits, names = Limits.from_environment(), list(files)
    Image.MAX_IMAGE_PIXELS = None  # ours is checked instead
    first, _ = _decode_pixels(names[0], files[names[0]], resolution, limits)
    limits.check_total(f"a set of {len(names)} images of {first.shape[2]}×{first.shape[1]}", len(names) * first.nbytes)
    pixels = np.empty((len(names), *first.shape), np.uint8)

    def fill(start: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for place in range(start, min(start + CHUNK, len(names))):
            image, kind = _decode_pixels(names[place], files[names[place]], resolution, limits)
            if image.shape != first.shape:
                raise _sizes_error(files, limits)
            pixels[place] = image
            found[kind] += 1
        return found

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        kinds = sum(pool.map(fill, range(0, len(names), CHUNK)), Counter[str]())
    return Decoded(pixels, dict(kinds.most_common()))


def _decode_pixels(name: str, encoded: bytes, resolution: int | None, limits: Limits) -> tuple[Array, str]:
    """RGB pixels [3, H, W], and the image's size and mode as stored."""
    image = _open_image(name, encoded, limits)
    kind = f"{image.width}×{image.height} {image.mode}"
    image = _to_rgb(name, _upright(image))
    if resolution is not None and image.size != (resolution, resolution):
        # The area average when shrinking: exact and without aliasing (Chrabaszcz 2017).
        shrinks = min(image.size) >= resolution
        method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
        image = ImageOps.fit(image, (resolution, resolution), method)
    return np.asarray(image).transpose(2, 0, 1), kind


def _open_image(name: str, encoded: bytes, limits: Limits) -> Image.Image:
    try:
        _check_png(encoded)
        image = Image.open(io.BytesIO(encoded))
        limits.check_pixels(name, *image.size)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a camera's photograph with its preview
            raise UsageError(
                f"{name} holds {frames} pictures: expected one, save the one you mean as a file of its own"
            )
        image.load()
    except UsageError:
        raise
    # Pillow's decoders raise anything for damaged files.
    except Exception as error:
        raise UsageError(
            f"cannot decode {name}: expected an image, got {len(encoded)} damaged or other bytes{_reason(error)}"
        ) from None
    return image


def _reason(error: Exception) -> str:
    first = str(error).partition("\n")[0][:MESSAGE]
    return "" if not first or "BytesIO" in first else f" ({first})"


def _check_png(encoded: bytes) -> None:
    """Compare the checksums of a PNG's chunks: Pillow leaves out those of the pixels."""
    if not encoded.startswith(PNG):
        return
    at = len(PNG)
    while at + 12 <= len(encoded):
        end = at + 8 + int.from_bytes(encoded[at : at + 4], "big")
        kind = encoded[at + 4 : at + 8]
        if len(encoded) < end + 4:
            return  # cut: Pillow says so
        if zlib.crc32(encoded[at + 4 : end]) != int.from_bytes(encoded[end : end + 4], "big"):
            raise ValueError(f"wrong checksum of {kind!r} at byte {at}")
        if kind == b"IEND":
            return
        at = end + 4


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF orientation says, in place: a copy would lose its format. Pillow turns TIFF itself."""
    with suppress(Exception):  # damaged metadata, of which viewers take no notice
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(name: str, image: Image.Image) -> Image.Image:
    if (highest := _highest_value(image)) is not None:
        return _from_deep_grey(image, highest)
    if image.mode in DEEP:
        raise UsageError(
            f"{name} has pixels of mode {image.mode} ({DEEP[image.mode]}), whose range is unknown: "
            "convert it to 8 or 16 bits per channel"
        )
    if image.mode in ALPHA or "transparency" in image.info:
        return _over_background(name, image)
    try:
        return image.convert("RGB")
    except ValueError:
        raise UsageError(f"{name} has pixels of mode {image.mode}: convert it to RGB or grey") from None


def _highest_value(image: Image.Image) -> int | None:
    """The value of white in grey images of 9 to 16 bits; None for all others."""
    if image.mode.startswith("I;16"):
        bits = int(_tiff_tag(image, 258, 16))
        return (1 << bits) - 1
    # Pillow scales PGM's own maximum to that of 16 bits; before Pillow 11 it did not name the depth of PNG.
    return 65535 if image.mode == "I" and image.format in ("PPM", "PNG") else None


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    tags: Any = getattr(image, "tag_v2", None)
    value = default if tags is None else tags.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _from_deep_grey(image: Image.Image, highest: int) -> Image.Image:
    """Grey levels of up to 16 bits to 8: 16 bits by 257, 12 bits by their own maximum, rounded."""
    values = np.asarray(image).astype(np.int64)
    grey = ((values * 255 * 2 + highest) // (2 * highest)).clip(0, 255).astype(np.uint8)
    if _tiff_tag(image, 262, 1) == 0:  # white is zero: Pillow turns 8 bits only
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = BACKGROUND
    return Image.fromarray(grey).convert("RGB")


def _over_background(name: str, image: Image.Image) -> Image.Image:
    """Compose on white; raises UsageError if this erases a shape in the alpha channel."""
    whole = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA")).astype(np.uint16)
    colour, alpha = whole[..., :3], whole[..., 3:]
    composed = ((colour * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
    if alpha.min() != alpha.max() and (composed == composed[0, 0]).all():
        raise UsageError(
            f"{name} is white on transparent: transparency becomes white, so nothing of the image would be left; "
            "compose it on another background"
        )
    return Image.fromarray(composed)


def _sizes_error(files: Mapping[str, bytes], limits: Limits) -> UsageError:
    images = (_open_image(name, encoded, limits) for name, encoded in files.items())
    counts = Counter(_upright(image).size for image in images)
    sizes = ", ".join(f"{width}×{height} ({count})" for (width, height), count in counts.most_common(4))
    more = ", …" if len(counts) > 4 else ""
    return UsageError(f"images of {len(counts)} sizes: {sizes}{more}: expected one size, or set resolution")
