"""Checksum of a whole Parquet file, stored in the file: Parquet's own checksums cover pages, not the footer.

Bytes between the last page and the footer are unused, so other Parquet readers ignore the checksum. In files of earlier
versions a copy of the row stands before it; nothing reads that copy.
"""

import zlib

MARK = b"checksum"
SIZE = len(MARK) + 4


def add_checksum(content: bytes) -> bytes:
    """Insert the checksum before the footer."""
    end = _footer_offset(content)
    return content[:end] + MARK + zlib.crc32(content).to_bytes(4, "little") + content[end:]


def is_intact(content: bytes) -> bool:
    """Tell whether a file is as it was written; older files without a checksum count as intact."""
    end = _footer_offset(content)
    if not has_checksum(content):
        whole = len(content) >= 12 and content[:4] == content[-4:] == b"PAR1"
        return whole and MARK not in content  # a mark elsewhere: the length of the footer has changed
    written = int.from_bytes(content[end - 4 : end], "little")
    return zlib.crc32(content[: end - SIZE] + content[end:]) == written


def has_checksum(content: bytes) -> bool:
    """Tell whether a file has a checksum: files of the first versions and of other programs have none."""
    end = _footer_offset(content)
    return content[max(0, end - SIZE) : max(0, end - 4)] == MARK


def _footer_offset(content: bytes) -> int:
    """Offset of the footer, as the file states it."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")
