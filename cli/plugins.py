"""The option `--import`, which brings code from outside of the project."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer


def plugin_option(panel: str | None = None) -> Any:
    """Make the option; the command gives its values to `load_plugins`."""
    words = "Own module or .py file. Repeatable."
    return typer.Option("--import", metavar="MODULE", rich_help_panel=panel, help=words)


def load_plugins(stated: Iterable[str], folder: Path | None = None) -> None:
    """Import installed plugins, then the stated modules and files; paths are relative to the folder."""
    from basin.plugins import import_plugins

    import_plugins(stated, folder)


Plugins = Annotated[list[str] | None, plugin_option()]
