"""What the import hook of conftest.py puts around every function and dataclass of basin."""

import typing
from collections.abc import Callable, Iterator
from typing import Any

from beartype import BeartypeConf, beartype

# mypy's rule, and Python's: an int is a float.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which raises if an argument or its result has another type or shape than its annotation.

    beartype refuses protocols that are not `@runtime_checkable`: they become so here, and then mean `hasattr`.
    """
    for hint in getattr(function, "__annotations__", {}).values():
        for part in _parts(hint):
            if getattr(part, "_is_protocol", False):
                typing.runtime_checkable(part)
    return _beartype(function)


def _parts(hint: Any) -> Iterator[Any]:
    yield typing.get_origin(hint) or hint
    for argument in typing.get_args(hint):
        yield from _parts(argument)
