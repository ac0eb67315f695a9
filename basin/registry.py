"""Named things: a file dropped in a package registers what it defines."""

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

    def register(self, name: str, **fixed: Any) -> Callable[[type[T]], type[T]]:
        """Class decorator: `name` makes instances whose fields `fixed` are set; several names may share a class."""

        def add(cls: type[T]) -> type[T]:
            assert name not in self._entries, f"two entries for {self.kind} {name!r}"
            self._entries[name] = (cls, fixed)
            return cls

        return add

    def make(self, name: str, **fields: Any) -> T:
        """The instance of that name; raises UsageError naming what exists."""
        cls, fixed = self.entry(name)
        return cls(**fixed, **fields)

    def entry(self, name: str) -> tuple[type[T], dict[str, Any]]:
        """The class behind a name and the fields that the name fixes."""
        self._load()
        if name not in self._entries:
            raise one_of(self.kind, name, self._entries)
        return self._entries[name]

    def name(self, instance: T) -> str:
        """The registered name of an instance."""
        for name in self:
            cls, fixed = self._entries[name]
            if type(instance) is cls and all(getattr(instance, field) == value for field, value in fixed.items()):
                return name
        raise one_of(self.kind, type(instance).__name__, self)

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def classes(self) -> list[type[T]]:
        """Every registered class once."""
        return list(dict.fromkeys(self.entry(name)[0] for name in self))

    def _load(self) -> None:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
