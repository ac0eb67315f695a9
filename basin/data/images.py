"""Encoded images (JPEG, PNG, …) to arrays of pixels."""

import io
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from basin.data.dataset import Array
from basin.errors import UsageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
CHUNK = 512


def is_image(name: str) -> bool:
    """Whether a path has an image's suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def decode(files: Mapping[str, bytes], resolution: int | None) -> Array:
    """RGB pixels, uint8 [N, 3, H, W], in the order of `files`.

    With a `resolution`, the shorter side is resized to it and the centre kept; without one, all must share one size.
    Raises UsageError naming the file that is no image, or the sizes that differ.
    """
    names = list(files)
    first = _pixels(names[0], files[names[0]], resolution)
    pixels = np.empty((len(names), *first.shape), np.uint8)

    def fill(start: int) -> None:
        for place in range(start, min(start + CHUNK, len(names))):
            image = _pixels(names[place], files[names[place]], resolution)
            if image.shape != first.shape:
                raise _sizes(files)
            pixels[place] = image

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done in [pool.submit(fill, start) for start in range(0, len(names), CHUNK)]:
            done.result()
    return pixels


def _pixels(name: str, encoded: bytes, resolution: int | None) -> Array:
    try:
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
    # Pillow's decoders raise all of these for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        raise UsageError(
            f"cannot decode {name}: expected an image, got {len(encoded)} damaged or other bytes"
        ) from None
    if resolution is not None and image.size != (resolution, resolution):
        # The area average when shrinking: exact and without aliasing (Chrabaszcz 2017).
        shrinks = min(image.size) >= resolution
        method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
        image = ImageOps.fit(image, (resolution, resolution), method)
    return np.asarray(image).transpose(2, 0, 1)


def _sizes(files: Mapping[str, bytes]) -> UsageError:
    counts = Counter(Image.open(io.BytesIO(encoded)).size for encoded in files.values())
    found = ", ".join(f"{width}×{height} ({count})" for (width, height), count in counts.most_common(4))
    more = ", …" if len(counts) > 4 else ""
    return UsageError(f"images of {len(counts)} sizes: {found}{more}: expected one size, or set resolution")
