"""Registries: a file dropped in a package registers what it defines."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from basin.errors import one_of

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing (`model`, `dataset`, …), each a class and the fields that the name fixes."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, tuple[type[T], dict[str, Any]]] = {}
        self._prefixes: dict[str, tuple[type[T], str]] = {}

    def register(self, name: str, **fixed: Any) -> Callable[[type[T]], type[T]]:
        """Class decorator: `name` makes instances whose fields `fixed` are set; several names may share a class."""

        def add(cls: type[T]) -> type[T]:
            assert name not in self._entries, f"two entries for {self.kind} {name!r}"
            self._entries[name] = (cls, fixed)
            return cls

        return add

    def register_prefix(self, prefix: str, field: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: every name `prefix` + NAME makes an instance whose `field` is NAME.

        These names are not among those that iteration gives: there may be any number of them.
        """

        def add(cls: type[T]) -> type[T]:
            assert prefix not in self._prefixes, f"two entries for {self.kind} {prefix!r}"
            self._prefixes[prefix] = (cls, field)
            return cls

        return add

    def make(self, name: str, **fields: Any) -> T:
        """The instance of that name; raises UsageError naming what exists."""
        cls, fixed = self.entry(name)
        return cls(**fixed, **fields)

    def entry(self, name: str) -> tuple[type[T], dict[str, Any]]:
        """The class behind a name and the fields that the name fixes."""
        self._import_modules()
        for prefix, (cls, field) in self._prefixes.items():
            if name.startswith(prefix):
                return cls, {field: name.removeprefix(prefix)}
        if name not in self._entries:
            raise one_of(self.kind, name, self.possible_names())
        return self._entries[name]

    def name(self, instance: T) -> str:
        """The registered name of an instance."""
        for name in self:
            cls, fixed = self._entries[name]
            if type(instance) is cls and all(getattr(instance, field) == value for field, value in fixed.items()):
                return name
        for prefix, (cls, field) in self._prefixes.items():
            if type(instance) is cls:
                return f"{prefix}{getattr(instance, field)}"
        raise one_of(self.kind, type(instance).__name__, self.possible_names())

    def __iter__(self) -> Iterator[str]:
        self._import_modules()
        return iter(sorted(self._entries))

    def classes(self) -> list[type[T]]:
        """Every registered class once."""
        named = [self.entry(name)[0] for name in self]
        return list(dict.fromkeys(named + [cls for cls, _ in self._prefixes.values()]))

    def possible_names(self) -> list[str]:
        """Every name, and each prefix followed by NAME."""
        return [*self, *(f"{prefix}NAME" for prefix in self._prefixes)]

    def _import_modules(self) -> None:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
