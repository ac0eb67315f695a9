"""Hyperparameters as data: a field of a frozen dataclass is the one home of its range, default and meaning.

From the field come its command-line flag, search distribution, table column and MLflow parameter:

    beta: Annotated[float, Bounds(0), Search(1e-3, 10, log=True)] = 1.0
    \"\"\"Constraint strength β: weight of the mixed networks' loss.\"\"\"
"""

import ast
import functools
import inspect
import itertools
import json
import math
import textwrap
import threading
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from basin.errors import UsageError, one_of

Value = bool | int | float | str | None
_ONE_AT_A_TIME = threading.RLock()
"""Two threads that parse at once fail now and then in Python before 3.11.8 (CPython's issue 106905)."""


@dataclass(frozen=True)
class Search:
    """Range a searcher draws from, by default; `log` draws uniformly in the logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Bounds:
    """Closed range of valid values."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Unit:
    """What a number counts or measures, such as `images`; for readers only."""

    name: str


@dataclass(frozen=True)
class Since:
    """Marks a field that was added to a class later, with the value that acted before it was there.

    The field is left out of a trial's key at that value alone, whatever its default is now: so adding it renames no
    trial, and changing its default later does.
    """

    value: Value


@dataclass(frozen=True)
class Field:
    """One hyperparameter: type, range, default and meaning."""

    name: str
    kind: type
    optional: bool
    choices: tuple[Value, ...]
    default: Value
    fixed: bool
    """No default: the value comes with the registered name (`resnet20` fixes depth = 20)."""
    search: Search | None
    bounds: Bounds
    doc: str
    since: Since | None = None
    """Set for a field that is newer than its class."""
    unit: str = ""
    """What a number counts; empty for fractions, multiples and texts."""

    @property
    def expected(self) -> str:
        """The possible values in words, for error messages."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        words = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}[self.kind]
        low, high = self.bounds.low, self.bounds.high
        if high < math.inf:
            words += f" from {low:g} to {high:g}"
        elif low > -math.inf:
            words += f" of {low:g} or more"
        return words + (" or none" if self.optional else "")

    def parse(self, value: object) -> Value:
        """`value`, which may be a text from a command line, as this field's type.

        Raises UsageError if it is of another type or out of bounds.
        """
        if self.optional and (value is None or value in ("none", "None")):
            return None
        problem = UsageError(f"{self.name}={value}: expected {self.expected}")
        if self.choices or self.kind is str:
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise problem
            return value
        if self.kind is bool:
            known = {"true": True, "false": False}
            text = str(value).lower()
            if not isinstance(value, bool | str) or text not in known:
                raise problem
            return known[text]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise problem
        try:
            number = _parse_integer(value) if self.kind is int else _parse_finite(value)
        except (ValueError, OverflowError):
            raise problem from None
        if not self.bounds.low <= number <= self.bounds.high:
            raise problem
        return number


def describe_fields(cls: type) -> tuple[Field, ...]:
    """The fields of a hyperparameter dataclass, in order, with the docstrings written under them."""
    with _ONE_AT_A_TIME:
        return _describe_cached(cls)


@functools.cache
def _describe_cached(cls: type) -> tuple[Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    docs = _field_docstrings(cls)
    return tuple(_describe_field(f.name, hints[f.name], f.default, docs.get(f.name, "")) for f in fields(cls))


def check_fields(instance: Any) -> None:
    """Check and convert every field's value; called from `__post_init__`. Raises UsageError if one is invalid."""
    for field in describe_fields(type(instance)):
        value = field.parse(getattr(instance, field.name))
        object.__setattr__(instance, field.name, value)


class Checked:
    """Base of a dataclass whose fields are checked and converted when it is made."""

    def __post_init__(self) -> None:
        check_fields(self)


def changed_fields(instance: Any) -> dict[str, Value]:
    """The fields whose value is not the default."""
    values = {field.name: (field, getattr(instance, field.name)) for field in describe_fields(type(instance))}
    return {name: value for name, (field, value) in values.items() if not field.fixed and value != field.default}


def acting_values(instance: Any) -> dict[str, Value]:
    """Values of all fields, except later fields that still have the value from before they were added."""
    values = {field: field.parse(getattr(instance, field.name)) for field in describe_fields(type(instance))}
    return {
        field.name: value
        for field, value in values.items()
        if field.since is None or value != field.parse(field.since.value)
    }


def canonical_text(values: Mapping[str, Value]) -> str:
    """Canonical JSON: sorted keys, no spaces, shortest exact floats."""
    return json.dumps(dict(values), sort_keys=True, separators=(",", ":"), allow_nan=False)


def replace_known(instance: Any, changes: Mapping[str, object]) -> Any:
    """A copy with parsed `changes`; raises UsageError for a name that is no field."""
    known = {field.name: field for field in describe_fields(type(instance))}
    values = {name: getattr(instance, name) for name in known}
    for name, value in changes.items():
        if name not in known:
            raise one_of("field", name, known)
        values[name] = known[name].parse(value)
    return type(instance)(**values)


def _parse_integer(value: int | float | str) -> int:
    # Not by way of float, which would round a 63-bit seed.
    if isinstance(value, int):
        return value
    try:
        return int(str(value))
    except ValueError:
        number = _parse_finite(value)
    if not number.is_integer():
        raise ValueError(number)
    return int(number)


def _parse_finite(value: int | float | str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(number)
    return number + 0.0  # -0.0 becomes 0.0: equal values have one canonical text


def _describe_field(name: str, hint: Any, default: Any, doc: str) -> Field:
    hint, extras = _unwrap_annotation(hint)
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    if optional:
        hint, inner = _unwrap_annotation(next(arm for arm in typing.get_args(hint) if arm is not type(None)))
        extras += inner
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    search = next((extra for extra in extras if isinstance(extra, Search)), None)
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), Bounds())
    since = next((extra for extra in extras if isinstance(extra, Since)), None)
    unit = next((extra.name for extra in extras if isinstance(extra, Unit)), "")
    fixed = default is MISSING
    kind = str if choices else hint
    return Field(name, kind, optional, choices, None if fixed else default, fixed, search, bounds, doc, since, unit)


def _unwrap_annotation(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        return hint, tuple(extras)
    return hint, ()


def _field_docstrings(cls: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    for part in filter(is_dataclass, reversed(cls.__mro__)):
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]).body
        for statement, after in itertools.pairwise(body):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = inspect.cleandoc(text)
    return docs
