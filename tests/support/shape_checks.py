"""What the import hook of conftest.py puts around every function and dataclass of basin.

jaxtyping checks a call twice and binds its arguments three times, which took nearly half of the tests' time. So only
functions whose annotations have shapes go through it; the types of the others are checked by beartype alone.
"""

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
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


def install_shape_checks() -> None:
    """Check the calls of modules of basin that are imported from now on."""
    through_jaxtyping = jaxtyping.jaxtyped

    def decorate(*, typechecker: Callable[..., Any]) -> Callable[..., Any]:
        def choose(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.isclass(function) or _has_shapes(function):
                return through_jaxtyping(typechecker=typechecker)(function)
            return function if "<locals>" in function.__qualname__ else typechecker(function)

        return choose

    jaxtyping.jaxtyped = decorate  # type: ignore[assignment]  # the hook's decorator looks it up when a module is imported
    jaxtyping.install_import_hook("basin", f"{__name__}.checked")


def _has_shapes(function: Callable[..., Any]) -> bool:
    parts = [part for hint in function.__annotations__.values() for part in _parts(hint)]
    return any(
        isinstance(part, str) or (inspect.isclass(part) and issubclass(part, jaxtyping.AbstractArray)) for part in parts
    )


def _parts(hint: Any) -> Iterator[Any]:
    yield typing.get_origin(hint) or hint
    for argument in typing.get_args(hint):
        yield from _parts(argument)
