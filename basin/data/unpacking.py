"""Unpack compressed files within limits: gzip, bzip2 and xz."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from basin.data.limits import Limits

CHUNK = 1 << 16
_gzip: Callable[[], Any] = partial(zlib.decompressobj, 31)
_xz: Callable[[], Any] = partial(lzma.LZMADecompressor, memlimit=1 << 30)
DECODERS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
    b"\x5d\0\0": _xz,
}
"""First bytes of a compressed file → new decoder of one of its streams."""


class Stream(Protocol):
    """Something to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer at the end."""


def unpack_gzip(name: str, raw: bytes) -> bytes:
    """The whole contents of a .gz file; raises UsageError beyond `Limits`, and DAMAGED errors if it is not whole."""
    limits, unpacked = Limits.from_environment(), bytearray()
    for part in _unpack(io.BytesIO(raw), _gzip):
        unpacked += part
        limits.check_file(name, len(unpacked))
        limits.check_total(name, len(unpacked), len(raw))
    return bytes(unpacked)


class UnpackedStream:
    """The unpacked bytes of an archive, as far as the limits allow."""

    def __init__(self, packed: Stream, start: bytes, source: Path, limits: Limits) -> None:
        decoder = next((new for mark, new in DECODERS.items() if start.startswith(mark)), None)
        self._parts = _unpack(packed, decoder) if decoder else iter(lambda: packed.read(CHUNK), b"")
        self._buffer = b""
        self._source, self._limits, self._count = source, limits, 0
        self._packed = source.stat().st_size

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""
        parts = [self._buffer]
        length = len(self._buffer)
        while length < size and (part := next(self._parts, None)) is not None:
            self._count += len(part)
            self._limits.check_total(str(self._source), self._count, self._packed)
            parts.append(part)
            length += len(part)
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]


def _unpack(packed: Stream, new: Callable[[], Any]) -> Iterator[bytes]:
    """Every stream of a compressed file, to its last byte; Python's own readers ignore what follows the first.

    Raises EOFError if one is cut, and the decoder's error if it is damaged or something else follows.
    """
    data = b""
    while data or (data := packed.read(CHUNK)):
        data = data.lstrip(b"\0")  # padding between streams
        if not data:
            continue
        decoder = new()
        while not decoder.eof:
            if not data and getattr(decoder, "needs_input", True):
                data = packed.read(CHUNK)
            cut = not data and getattr(decoder, "needs_input", True)
            part = decoder.decompress(data, 1 << 20)
            if cut and not part and not decoder.eof:
                raise EOFError("its compressed data end too early")
            yield part
            data = getattr(decoder, "unconsumed_tail", b"")
        data = decoder.unused_data
