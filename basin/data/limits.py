"""Limits on what a source may unpack to, so that a small archive cannot fill the memory."""

import os
from dataclasses import dataclass

from basin.errors import UsageError

GIB = 1 << 30
RATIO_FROM = GIB // 4
"""Bytes below which the ratio is not looked at: small archives of plain images compress a thousandfold."""


@dataclass(frozen=True)
class Limits:
    """Limits of one source; each is set by an environment variable of the process that decodes."""

    file: int = 2 * GIB
    """Bytes of one file, unpacked."""
    total: int = 64 * GIB
    """Bytes of all files, unpacked, and of all decoded pixels."""
    ratio: int = 200
    """Unpacked bytes per packed byte."""
    pixels: int = 178_956_970
    """Pixels of one image."""

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits that hold here; raises UsageError for a value that is no positive integer."""
        return cls(**{name: _read_limit(name, default) for name, default in vars(cls()).items()})

    def check_file(self, what: str, size: int) -> None:
        """Raise UsageError for a file that unpacks to more than one file may."""
        if size > self.file:
            raise _limit_error(what, f"{size:,} bytes", "file", self.file)

    def check_total(self, what: str, unpacked: int, packed: int | None = None) -> None:
        """Raise UsageError if a source unpacks to more than the total, or to too many times its own size."""
        if unpacked > self.total:
            raise _limit_error(what, f"{unpacked:,} bytes", "total", self.total)
        if packed is not None and unpacked > max(RATIO_FROM, self.ratio * packed):
            raise _limit_error(what, f"{unpacked:,} bytes from {packed:,}", "ratio", self.ratio)

    def check_pixels(self, what: str, width: int, height: int) -> None:
        """Raise UsageError for an image of too many pixels."""
        if width * height > self.pixels:
            raise _limit_error(what, f"{width}×{height} pixels", "pixels", self.pixels)


def variable_name(limit: str) -> str:
    """The environment variable of a limit."""
    return f"SINGLE_BASIN_MAX_{limit.upper()}"


def _read_limit(name: str, default: int) -> int:
    text = os.environ.get(variable_name(name), str(default))
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{variable_name(name)}={text}: expected a positive integer")
    return int(text)


def _limit_error(what: str, found: str, name: str, limit: int) -> UsageError:
    return UsageError(
        f"{what} unpacks to {found}, more than the limit of {limit:,} ({name}): "
        f"to allow this, set {variable_name(name)} higher"
    )
