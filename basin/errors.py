"""The error for invalid user input."""

from difflib import get_close_matches


class UsageError(ValueError):
    """Invalid user input: one line that says what is wrong, what was given and what to do.

    Command lines print it without a traceback and exit with code 2.
    """


MOST_LISTED = 12
"""Names that are listed after a suggestion, of which the user most likely needs none."""


def one_of(what: str, got: object, possible: object) -> UsageError:
    """The error for an unknown name: the nearest of the possible ones, then some of them; all if none is near."""
    names = sorted(str(name) for name in possible)  # type: ignore[attr-defined]
    unprefixed = [name for name in names if str(got).endswith(f"_{name}")]  # test_accuracy for accuracy
    nearest = unprefixed or get_close_matches(str(got), names, 1)
    if not nearest:
        return UsageError(f"unknown {what} {str(got)!r}: expected one of {', '.join(names)}")
    more = f", … ({len(names)} in all)" if len(names) > MOST_LISTED else ""
    listed = f"expected one of {', '.join(names[:MOST_LISTED])}{more}"
    return UsageError(f"unknown {what} {str(got)!r}: did you mean {nearest[0]!r}? {listed}")
