"""Puts figures and tables on disk, each with a JSON that says what it is and from which trials it comes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis import style
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
        drawn = entry.make(tables)
        assert isinstance(drawn, Drawn), f"{entry.name}: draw() gave a {type(drawn).__name__}"
        files = [out / f"{stem(entry, tables)}.{suffix}" for suffix in formats]
        for file in files:
            drawn.figure.savefig(file, metadata=_UNDATED[file.suffix[1:]])
    return [*files, _describe(entry, tables, out, drawn.keys, drawn.data)]


def table(entry: Entry, tables: Tables, out: Path) -> list[Path]:
    """Writes one table as Markdown, LaTeX and CSV; returns the files written."""
    sheet = entry.make(tables)
    assert isinstance(sheet, Sheet), f"{entry.name}: build() gave a {type(sheet).__name__}"
    texts = {"md": sheet.markdown(), "tex": sheet.latex(), "csv": sheet.csv()}
    files = []
    for suffix, text in texts.items():
        files.append(out / f"{stem(entry, tables)}.{suffix}")
        files[-1].write_text(text, encoding="utf-8")
    return [*files, _describe(entry, tables, out, sheet.keys, {})]


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
        "commits": sorted({commits[key] for key in keys} - {None}),
    }
    size = len(json.dumps(data))
    content["data"] = data if size <= LARGEST_DATA else f"left out: {size} characters"
    file = out / f"{stem(entry, tables)}.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return file
