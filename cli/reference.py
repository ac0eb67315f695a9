"""The commands that describe fields and columns."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.plugins import Plugins, load_plugins
from cli.run import console

if TYPE_CHECKING:
    from sweeps.queries.reference import ColumnEntry, FieldEntry


def fields(
    name: Annotated[str | None, typer.Argument(metavar="[FIELD]", help="Field to describe.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the fields, or describe one.

    They are the names of --set, --search and study files.
    Example: python launch.py fields beta
    """
    from sweeps.queries.reference import field_entries, find_field

    load_plugins(plugins or ())
    out = console()
    if name is None:
        _print_fields(field_entries(), out)
        return
    for entry in find_field(name):
        _print_field(entry, out)


def _print_fields(entries: "list[FieldEntry]", out: Console) -> None:
    """A table for each section; only the first definition of a name is listed."""
    sections: dict[str, dict[str, FieldEntry]] = {}
    for entry in entries:
        sections.setdefault(entry.section, {}).setdefault(entry.field.name, entry)
    for section, named in sections.items():
        table = Table(title=section, title_justify="left")
        table.add_column("field", no_wrap=True)
        table.add_column("values")
        table.add_column("meaning")
        for name, entry in named.items():
            table.add_row(name, _describe_values(entry), _first_sentence(entry.meaning))
        out.print(table)


def _describe_values(entry: "FieldEntry") -> str:
    unit = f"{entry.field.unit}: " if entry.field.unit else ""
    lines = [f"default {entry.default}", f"{unit}{entry.values}"]
    return "\n".join([*lines, f"search {entry.search}"] if entry.search else lines)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")


def _print_field(entry: "FieldEntry", out: Console) -> None:
    out.print(entry.meaning, markup=False, soft_wrap=False)
    table = Table(show_header=False)
    belongs = f"{entry.section} ({', '.join(entry.owners)})" if entry.owners else entry.section
    facts = {
        "section": belongs,
        "values": entry.values,
        "unit": entry.field.unit,
        "default": entry.default,
        "searched over": entry.search or "only values that --search states",
        "set it": f"--set {entry.field.name}=…",
    }
    for fact, value in facts.items():
        table.add_row(fact, value)
    out.print(table)


def columns(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Table, or column, to describe.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the result tables, or describe one, or one column.

    Example: python launch.py columns trials
    """
    from sweeps.queries.reference import column_entries, find_column, table_meanings

    load_plugins(plugins or ())
    tables = table_meanings()
    if name is None:
        listed = Table("table", "meaning", "columns")
        for table, meaning in tables.items():
            listed.add_row(table, meaning, str(len(column_entries(table))))
    elif name in tables:
        listed = Table("column", "meaning")
        for column in column_entries(name):
            listed.add_row(f"{column.name}\n{_describe_kind(column)}", column.meaning)
    else:
        listed = Table("table", "column", "meaning")
        for table, column in find_column(name).items():
            listed.add_row(table, f"{column.name}\n{_describe_kind(column)}", column.meaning)
    console().print(listed, markup=False)


def _describe_kind(column: "ColumnEntry") -> str:
    better = f"{column.better} is better" if column.better else ""
    return ", ".join(filter(None, [column.kind, column.unit, better]))
