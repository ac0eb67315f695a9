"""Find a finished trial by the beginning of its key. Needs the standard library only."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from basin.errors import UsageError

DIGITS = 16
"""Hex digits of a key."""
SHOWN = 6
"""Keys that a message lists, at most."""


def is_key(name: str) -> bool:
    """Tell whether a name has the form of a key; files with other names belong to the user."""
    return len(name) == DIGITS and set(name) <= set("0123456789abcdef")


def find_trial(folders: Sequence[Path], key: str) -> Path:
    """File with the row of the one trial in these sweeps whose key begins so.

    Raises UsageError, listing keys, if there is none or more than one.
    """
    if not key or not set(key) <= set("0123456789abcdef"):
        raise UsageError(f"key {key!r}: expected the first hex digits of a trial's key, such as 2d22d463")
    rows = list(chain.from_iterable(map(_row_files, folders)))
    matches = [path for path in rows if path.stem.startswith(key)]
    if len(matches) == 1:
        return matches[0]
    where = ", ".join(map(str, folders)) or "no sweep"
    if not matches:
        exist = f"its trials are {_list_keys(rows)}" if rows else "no trial has finished there"
        raise UsageError(f"no trial {key} in {where}: {exist}")
    if len({path.stem for path in matches}) == 1:
        sweeps = ", ".join(path.parents[2].name for path in matches)
        raise UsageError(f"trial {key} is in several sweeps ({sweeps}): name one of them")
    raise UsageError(f"key {key} is the beginning of {len(matches)} keys ({_list_keys(matches)}): give more digits")


def weights_path(folder: Path, ensemble_key: str) -> Path:
    """File of trained networks in a sweep's folder, shared by all trials that measure them."""
    return folder / "weights" / f"{ensemble_key}.safetensors"


def _row_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "tables" / "trials").glob("*.parquet") if is_key(path.stem))


def _list_keys(rows: Sequence[Path]) -> str:
    keys = sorted({path.stem for path in rows})
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
