"""A checksum of a whole Parquet file, in the file: Parquet's own checksums are of pages, not of the footer.

Parquet's footer says where each page begins, so bytes between the last page and the footer are nobody's: readers that
do not know of the checksum pass over it.
"""

import zlib

MARK = b"checksum"
SIZE = len(MARK) + 4


def seal(content: bytes, more: bytes = b"") -> bytes:
    """The file with its checksum, and with `more` before it, which the checksum is of too."""
    end = footer(content)
    start = content[:end] + more
    return start + MARK + zlib.crc32(start + content[end:]).to_bytes(4, "little") + content[end:]


def intact(content: bytes) -> bool:
    """Whether a file is as it was written; older files have no checksum, and are taken as they are."""
    end = footer(content)
    if content[max(0, end - SIZE) : max(0, end - 4)] != MARK:
        whole = len(content) >= 12 and content[:4] == content[-4:] == b"PAR1"
        return whole and MARK not in content  # a mark elsewhere: the footer's length has changed
    written = int.from_bytes(content[end - 4 : end], "little")
    return zlib.crc32(content[: end - SIZE] + content[end:]) == written


def footer(content: bytes) -> int:
    """Where it begins, by what the file says."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")
