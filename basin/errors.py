"""The one error a user can cause and mend."""


class UsageError(ValueError):
    """Something the user gave cannot be used: one line with what was expected, what came and what is possible.

    Command lines print it without a traceback and exit with code 2.
    """


def one_of(what: str, got: object, possible: object) -> UsageError:
    """The error for a name that is not in a list of names."""
    names = ", ".join(sorted(str(name) for name in possible))  # type: ignore[attr-defined]
    return UsageError(f"unknown {what} {str(got)!r}: expected one of {names}")
