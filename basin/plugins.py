"""Plugins: modules from outside of the project that register constructions, datasets, models, metrics and figures.

A plugin is a module by its name, a .py file, or the folder of a package. Its name, version and a hash of its sources
are part of the provenance of results; they are no part of a trial's key (decision 11).
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from basin.errors import UsageError

GROUP = "single_basin.plugins"
"""Entry points of installed distributions whose modules are imported."""


@dataclass(frozen=True)
class Plugin:
    """A module that has been imported."""

    name: str
    path: Path
    """File or folder of its top-level module, which is hashed."""
    sources: str
    """16 hex digits of the SHA-256 of its Python files."""
    version: str
    """Version of its distribution; empty for other code."""

    @property
    def installed(self) -> bool:
        """Tell whether it lies in the environment, which every node has, and not among somebody's files."""
        return any(self.path.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))

    def __str__(self) -> str:
        version = f"=={self.version}" if self.version else ""
        return f"{self.name}{version}@{self.sources}"


_IMPORTED: dict[str, Plugin] = {}


def imported_plugins() -> list[Plugin]:
    """Plugins of this process, by name."""
    return [_IMPORTED[name] for name in sorted(_IMPORTED)]


def plugin_modules() -> list[ModuleType]:
    """Their modules."""
    return [sys.modules[plugin.name] for plugin in imported_plugins()]


def describe_plugins() -> str:
    """Name, version and hash of every plugin, such as `my_lab==1.0@0123456789abcdef`; empty without plugins."""
    return " ".join(map(str, imported_plugins()))


def check_plugins(described: str) -> None:
    """Import the plugins of another process; raises UsageError if one is missing or has other sources here."""
    for text in described.split():
        name = text.partition("@")[0].partition("==")[0]
        here = import_plugin(name, Path.cwd())
        if str(here) != text:
            raise UsageError(
                f"{platform.node()} has plugin {here}, but the sweep was launched with {text}: install the same "
                "version on every node; if you changed the plugin meanwhile, rerun the command"
            )


def import_plugins(stated: Iterable[str], folder: Path | None = None) -> None:
    """Import installed plugins, which are entry points of `GROUP`, then the stated ones.

    Paths are relative to the folder, or to the working directory.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        import_plugin(entry.module, Path.cwd())
    for one in stated:
        import_plugin(one, folder or Path.cwd())


def import_plugin(stated: str, folder: Path) -> Plugin:
    """Import a plugin by its name or path; paths are relative to the folder.

    Raises UsageError if there is none, if its name is taken, and if it cannot be imported.
    """
    is_path = stated.endswith(".py") or os.sep in stated
    path = (folder / Path(stated).expanduser()).resolve()
    name = path.stem if is_path else stated
    if name not in _IMPORTED:
        module = _import_path(stated, path) if is_path else _import_module(stated)
        _IMPORTED[name] = _describe_module(name, module)
    elif is_path and _IMPORTED[name].path != path:
        raise UsageError(f"--import {stated}: plugin {name} is {_IMPORTED[name].path} already: rename one of the two")
    return _IMPORTED[name]


def _import_module(name: str) -> ModuleType:
    """Import by name: what is installed or on Python's path, else from the working directory."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"--import {name}: expected the name of a module, or the path of a .py file")
    if not _is_known(name.partition(".")[0]):
        sys.path.append(str(Path.cwd()))
    with _explained(name):
        return importlib.import_module(name)


def _import_path(stated: str, path: Path) -> ModuleType:
    """Import a .py file, or the folder of a package, as the module of its name."""
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--import {stated}: expected a .py file or the folder of a package, found no {file}")
    if not path.stem.isidentifier() or _is_known(path.stem):
        raise UsageError(f"--import {stated}: {path.stem!r} is no free name of a module: rename the file")
    folders = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(path.stem, file, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    with _explained(stated):
        spec.loader.exec_module(module)
    return module


def _is_known(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


@contextmanager
def _explained(stated: str) -> Iterator[None]:
    """Turn what a plugin raises while it is imported into a UsageError with its place."""
    try:
        yield
    except Exception as error:
        sys.modules.pop(Path(stated).stem, None)
        if isinstance(error, UsageError):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        where, words = f"{place.filename}:{place.lineno}", str(error)
        if isinstance(error, SyntaxError):  # raised by Python's importer, far from its place
            where, words = f"{error.filename}:{error.lineno}", error.msg
        what = f"{type(error).__name__}: {words}" if words else type(error).__name__
        raise UsageError(f"--import {stated}: {what} ({where})") from error


def _describe_module(name: str, module: ModuleType) -> Plugin:
    """Where the top-level module lies, and the hash of its files."""
    top = sys.modules[name.partition(".")[0]]
    path = Path(next(iter(getattr(top, "__path__", [])), None) or str(top.__file__))
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return Plugin(name, path, hash_files(path.parent, files), _version_of(top.__name__))


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """16 hex digits of the SHA-256 of files, each with its path from the root and its length."""
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _version_of(module: str) -> str:
    """Version of the distribution that a module belongs to; empty if there is none."""
    names = importlib.metadata.packages_distributions().get(module, ())
    return importlib.metadata.version(names[0]) if names else ""
