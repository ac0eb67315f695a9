"""Figures and tables by name: a file dropped in `figures/` or `tables/` registers itself."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from analysis.queries import Tables
from analysis.sheet import Sheet


@dataclass(frozen=True)
class Drawn:
    """A figure, the keys of the trials it shows and the values plotted."""

    figure: Figure
    keys: list[str]
    data: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One registered figure or table: the module's constants and its function."""

    name: str
    title: str
    what: str
    """What it shows, for the JSON beside the file."""
    needs: str
    """The command that makes the data it needs; `{sweep}` stands for the folder's name."""
    make: Callable[[Tables], Drawn | Sheet]


def figures() -> list[Entry]:
    """Every file in `analysis/figures/`, by name."""
    return _entries("analysis.figures", "draw")


def tables() -> list[Entry]:
    """Every file in `analysis/tables/`, by name."""
    return _entries("analysis.tables", "build")


def _entries(package: str, function: str) -> list[Entry]:
    names = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    modules = {name: importlib.import_module(f"{package}.{name}") for name in names if not name.startswith("_")}
    return [
        Entry(name, module.TITLE, module.WHAT, module.NEEDS, getattr(module, function))
        for name, module in modules.items()
    ]
