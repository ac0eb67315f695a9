"""A checksum of a whole Parquet file, in the file: Parquet's own checksums are of pages, not of the footer.

Parquet's footer says where each page begins, so bytes between the last page and the footer are nobody's: readers that
do not know of the checksum pass over it.
"""

import zlib

MARK = b"checksum"
SIZE = len(MARK) + 4


def seal(content: bytes) -> bytes:
    """The file with its checksum."""
    footer = _footer(content)
    return content[:footer] + MARK + zlib.crc32(content).to_bytes(4, "little") + content[footer:]


def intact(content: bytes) -> bool:
    """Whether a file is as it was written; older files have no checksum, and are taken as they are."""
    footer = _footer(content)
    if content[max(0, footer - SIZE) : max(0, footer - 4)] != MARK:
        whole = len(content) >= 12 and content[:4] == content[-4:] == b"PAR1"
        return whole and MARK not in content  # a mark elsewhere: the footer's length has changed
    written = int.from_bytes(content[footer - 4 : footer], "little")
    return zlib.crc32(content[: footer - SIZE] + content[footer:]) == written


def _footer(content: bytes) -> int:
    """Where it begins, by what the file says."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")
