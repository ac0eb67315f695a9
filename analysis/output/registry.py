"""Registry of figures and tables: a file added to `figures/` or `tables/` registers itself."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from matplotlib.figure import Figure

from analysis.data.queries import Tables
from analysis.errors import BadInput
from analysis.output.sheet import Sheet
from basin.plugins import plugin_modules

QUESTIONS = (
    "Are the members connected?",
    "What does connectivity cost?",
    "Does distillation give it back?",
    "Can permutations connect independent networks?",
    "How diverse are the members?",
    "How good are the probabilities?",
    "What does training cost?",
    "Which hyperparameters matter?",
    "What else?",
)
"""Questions in the order of the report. The last is that of files without a QUESTION."""


@dataclass(frozen=True)
class Drawn:
    """A figure, the keys of its trials and the plotted values."""

    figure: Figure
    keys: list[str]
    data: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One registered figure or table: the module's constants and its function."""

    name: str
    title: str
    what: str
    """Caption, for the page and for the JSON next to the file."""
    needs: str
    """Study that makes its data, with options: the arguments of `launch.py sweep`."""
    question: str
    """Question that it helps to answer: the report groups by it."""
    make: Callable[[Tables], Drawn | Sheet]


def figure_entries() -> list[Entry]:
    """Return an entry for every file in `analysis/figures/`, by name."""
    return _load_entries("analysis.figures", "draw")


def table_entries() -> list[Entry]:
    """Return an entry for every file in `analysis/tables/`, by name."""
    return _load_entries("analysis.tables", "build")


def _plugin_entries(function: str, taken: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    """Plugins that are a figure or table: those with a TITLE and the function."""
    found = {}
    for module in plugin_modules():
        name = module.__name__.rpartition(".")[2]
        if not (hasattr(module, "TITLE") and hasattr(module, function)):
            continue
        missing = [constant for constant in ("WHAT", "NEEDS") if not hasattr(module, constant)]
        if missing or name in taken:
            raise BadInput(f"plugin {name}: expected {missing[0]}" if missing else f"plugin {name}: the name is taken")
        found[name] = module
    return found


def _load_entries(package: str, function: str) -> list[Entry]:
    names = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    modules = {name: importlib.import_module(f"{package}.{name}") for name in names if not name.startswith("_")}
    modules |= _plugin_entries(function, modules)
    return [
        Entry(
            name,
            module.TITLE,
            module.WHAT,
            module.NEEDS,
            getattr(module, "QUESTION", QUESTIONS[-1]),
            getattr(module, function),
        )
        for name, module in modules.items()
    ]
