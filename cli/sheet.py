"""Tables that fit the terminal: columns are dropped by rank, and no cell is cut."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNBOUNDED = 10_000
"""Columns of a terminal that holds every table."""


@dataclass(frozen=True)
class Column:
    """A column of a sheet."""

    heading: str
    cells: Sequence[str]
    rank: int
    """Columns of the highest ranks are dropped first; 0 stays at any width."""
    right: bool = False
    """True if the cells are numbers."""


@dataclass(frozen=True)
class Sheet:
    """A table with its title."""

    title: str
    columns: Sequence[Column]
    sections: Sequence[int] = ()
    """Numbers of rows after which a line is drawn."""


def print_sheet(sheet: Sheet, console: Console) -> list[str]:
    """Print a sheet with as many columns as fit, and say which are left out; return the headings of those shown."""
    kept = fitting_columns(sheet, console)
    console.print(sheet.title, soft_wrap=False)
    console.print(_make_table(sheet, kept))
    dropped = [column.heading for column in sheet.columns if column not in kept]
    if dropped:
        console.print(f"not shown, for want of room: {', '.join(dropped)}", soft_wrap=False)
    return [column.heading for column in kept]


def fitting_columns(sheet: Sheet, console: Console) -> list[Column]:
    """Return the columns that fit the width of the console; those of rank 0 are always among them."""
    kept = list(sheet.columns)
    while _table_width(_make_table(sheet, kept), console) > console.width:
        last = max(kept, key=lambda column: column.rank)
        if not last.rank:
            break
        kept.remove(last)
    return kept


def _make_table(sheet: Sheet, columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", no_wrap=True)
    rows = zip(*(column.cells for column in columns), strict=True)
    for number, row in enumerate(rows, 1):
        table.add_row(*row, end_section=number in sheet.sections)
    return table


def _table_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=UNBOUNDED), table).maximum
