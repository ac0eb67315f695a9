"""Progress of long work: a callback, or a line on a terminal."""

import sys
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(what is being done, parts done, parts in all) → nothing."""


def choose_progress(progress: Progress | bool | None) -> Progress:
    """The callback itself; True for a line on stderr, False for none, None for a line if stderr is a terminal."""
    if callable(progress):
        return progress
    shown = sys.stderr.isatty() if progress is None else progress
    return _print_line if shown else lambda what, done, total: None


def _print_line(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
