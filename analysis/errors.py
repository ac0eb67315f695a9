"""What can go wrong, in words for the reader."""


class BadInput(Exception):  # noqa: N818
    """The results cannot be read at all: one line, exit code 2."""


class Missing(Exception):  # noqa: N818
    """One figure or table lacks its data; the others can still be made."""
