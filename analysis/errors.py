"""Errors with a message for the user."""


class BadInput(Exception):  # noqa: N818
    """The results cannot be read. The command prints the message and exits with 2."""


class Missing(Exception):  # noqa: N818
    """A figure or table lacks its data; the others are still made."""
