"""Standard JSON: no bare NaN or Infinity, which other programs refuse."""

import json
import math
from collections.abc import Mapping
from typing import Any


def dump_json(value: object, *, keep: bool = False, **options: Any) -> str:
    """Write a value as JSON; numbers that are not finite become null, or with `keep` texts that `float` reads back."""
    return json.dumps(_strict(value, keep), allow_nan=False, **options)


def _strict(value: object, keep: bool) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value) if keep else None
    if isinstance(value, Mapping):
        return {name: _strict(part, keep) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part, keep) for part in value]
    return value
