"""Puts figures and tables on disk, each with a JSON that says what it is and from which trials it comes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis import style
from analysis.errors import Missing
from analysis.queries import Tables
from analysis.registry import Drawn, Entry
from analysis.sheet import Sheet

FORMATS = ("png", "pdf", "svg")
LARGEST_DATA = 200_000
"""Characters of JSON beyond which the plotted values are left out."""
# No dates: the same results give the same files, byte for byte.
_UNDATED = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def figure(entry: Entry, tables: Tables, out: Path, formats: Iterable[str]) -> list[Path]:
    """Draws one figure in every format; returns the files written."""
    with style.house_style():
        return save(draw(entry, tables), entry, tables, out, formats)


def draw(entry: Entry, tables: Tables) -> Drawn:
    """The figure, to be drawn and saved in the house style; raises Missing."""
    drawn = entry.make(tables)
    assert isinstance(drawn, Drawn), f"{entry.name}: draw() gave a {type(drawn).__name__}"
    return drawn


def save(drawn: Drawn, entry: Entry, tables: Tables, out: Path, formats: Iterable[str]) -> list[Path]:
    """Writes a figure in every format, and what it is."""
    files = [out / f"{stem(entry, tables)}.{suffix}" for suffix in formats]
    for file in files:
        drawn.figure.savefig(file, metadata=_UNDATED[file.suffix[1:]])
        drawn.figure.set_layout_engine("none")  # what the first file laid out is right for the others
    return [*files, _describe(entry, tables, out, drawn.keys, drawn.data)]


def table(entry: Entry, tables: Tables, out: Path) -> list[Path]:
    """Builds one table and writes it; returns the files written."""
    return save_sheet(sheet(entry, tables), entry, tables, out)


def sheet(entry: Entry, tables: Tables) -> Sheet:
    """The table; raises Missing."""
    built = entry.make(tables)
    assert isinstance(built, Sheet), f"{entry.name}: build() gave a {type(built).__name__}"
    return built


def save_sheet(built: Sheet, entry: Entry, tables: Tables, out: Path) -> list[Path]:
    """Writes a table as Markdown, LaTeX and CSV, and what it is."""
    files = []
    for suffix, text in {"md": built.markdown(), "tex": built.latex(), "csv": built.csv()}.items():
        files.append(out / f"{stem(entry, tables)}.{suffix}")
        files[-1].write_text(text, encoding="utf-8")
    return [*files, _describe(entry, tables, out, built.keys, {})]


def remedy(entry: Entry, tables: Tables, missing: Missing) -> str:
    """What is missing, and the command that makes it; a sweep of other images than digits was given them."""
    given = "" if {dataset for dataset, _ in tables.settings} <= {"digits"} else " (with the same --data)"
    return f"{missing}; to make the data: {entry.needs.format(sweep=tables.folder.resolve().name)}{given}"


def stem(entry: Entry, tables: Tables) -> str:
    """The file name without suffix; another split than test is part of the name."""
    return entry.name if tables.split == "test" else f"{entry.name}-{tables.split}"


def _describe(entry: Entry, tables: Tables, out: Path, keys: list[str], data: Any) -> Path:
    commits = {row["key"]: row.get("commit") for row in tables.rows}
    content = {
        "title": entry.title,
        "what": entry.what,
        "split": tables.split,
        "keys": keys,
        "commits": sorted({commit for key in keys if (commit := commits[key]) is not None}),
    }
    size = len(json.dumps(data))
    content["data"] = data if size <= LARGEST_DATA else f"left out: {size} characters"
    file = out / f"{stem(entry, tables)}.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return file
