"""Write figures and tables, each with a JSON file that describes it and lists its trials."""

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from analysis.data.queries import Tables, configurations
from analysis.errors import BadInput, Missing
from analysis.output import style
from analysis.output.registry import Drawn, Entry
from analysis.output.sheet import Sheet

FORMATS = ("png", "pdf", "svg")
LARGEST_DATA = 200_000
"""Maximum size of the plotted values in the JSON file, in characters."""
# No dates: the same results give the same files, byte for byte.
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def caption(what: str, tables: Tables) -> str:
    """Return the caption of a figure or table: with one seed of each configuration, intervals are over images alone."""
    if any(len(configuration.rows) > 1 for configuration in configurations(tables)):
        return what
    for seeds in ("over seeds and images", "over seeds, and over images where they are stored"):
        what = what.replace(seeds, "over images (one seed)")
    return re.sub(r" \(over seeds alone for [^)]*\)", "", what)


def write_figure(entry: Entry, tables: Tables, out: Path, formats: Iterable[str]) -> list[Path]:
    """Draw one figure in every format and return the files written."""
    with style.house_style():
        return save_figure(draw_figure(entry, tables), entry, tables, out, formats)


def draw_figure(entry: Entry, tables: Tables) -> Drawn:
    """Draw a figure. Call this and `save_figure` within the house style. Raises Missing if its data are not there."""
    drawn = entry.make(tables)
    assert isinstance(drawn, Drawn), f"{entry.name}: draw() gave a {type(drawn).__name__}"
    return drawn


def save_figure(
    drawn: Drawn, entry: Entry, tables: Tables, out: Path, formats: Iterable[str], pixels: np.ndarray | None = None
) -> list[Path]:
    """Write a figure in these formats, and its description. Files of it in other formats are written again.

    `pixels` are those of `style.rasterise`, if they are there already.
    """
    wanted = set(formats)
    files = [out / f"{file_stem(entry, tables)}.{suffix}" for suffix in FORMATS]
    files = [file for file in files if file.suffix[1:] in wanted or file.exists()]
    style.fix_layout(drawn.figure)
    for file in files:
        if file.suffix == ".png":
            pixels = style.rasterise(drawn.figure) if pixels is None else pixels
            imsave(file, pixels, dpi=style.RC["savefig.dpi"])
        else:
            drawn.figure.savefig(file, metadata=_UNDATED[file.suffix[1:]])
    return [*files, _write_description(entry, tables, out, drawn.keys, drawn.data)]


def parse_formats(text: str) -> list[str]:
    """Return the formats in a list with commas. Raises BadInput for an unknown one."""
    formats = text.split(",")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise BadInput(f"{', '.join(unknown)}: expected some of {','.join(FORMATS)}")
    return formats


def write_table(entry: Entry, tables: Tables, out: Path) -> list[Path]:
    """Build and write one table and return the files written."""
    return save_sheet(build_sheet(entry, tables), entry, tables, out)


def build_sheet(entry: Entry, tables: Tables) -> Sheet:
    """Build a table. Raises Missing if its data are not there."""
    built = entry.make(tables)
    assert isinstance(built, Sheet), f"{entry.name}: build() gave a {type(built).__name__}"
    return built


def save_sheet(built: Sheet, entry: Entry, tables: Tables, out: Path) -> list[Path]:
    """Write a table as Markdown, LaTeX and CSV, and its description."""
    files = []
    for suffix, text in {"md": built.markdown(), "tex": built.latex(), "csv": built.csv()}.items():
        files.append(out / f"{file_stem(entry, tables)}.{suffix}")
        files[-1].write_text(text, encoding="utf-8")
    return [*files, _write_description(entry, tables, out, built.keys, {})]


def missing_words(entry: Entry, tables: Tables, missing: Missing) -> str:
    """Say what is missing, and which commands bring it."""
    return f"{missing}; to add it: {'; '.join(adding_commands(entry, tables))}"


def adding_commands(entry: Entry, tables: Tables) -> list[str]:
    """Return the commands that bring an entry's data into this report: the sweep that makes them, and the report.

    PATH stands for the images of a dataset other than digits.
    """
    study, *options = entry.needs.split()
    first, *others = [folder.resolve().name for folder in (tables.folder, *tables.more)]
    added = list(dict.fromkeys([*others, *([] if study == first else [study])]))
    images = [] if {dataset for dataset, _ in tables.settings} <= {"digits"} else ["--data", "PATH"]
    storage = storage_option(tables)
    split = [] if tables.split == "test" else ["--split", tables.split]
    sweep = ["sweep", study, *options, *images, *storage]
    report = ["report", first, *itertools.chain(*(("--with", name) for name in added)), *split, *storage]
    return [shlex.join(["python", "launch.py", *command]) for command in (sweep, report)]


def storage_option(tables: Tables) -> list[str]:
    """Return the option that names the storage of these results; nothing for the default one."""
    storage = str(tables.folder.parent)
    return [] if storage == "results" else ["--storage", storage]


def file_stem(entry: Entry, tables: Tables) -> str:
    """Return the file name without suffix; a split other than test is part of it."""
    return entry.name if tables.split == "test" else f"{entry.name}-{tables.split}"


def _write_description(entry: Entry, tables: Tables, out: Path, keys: list[str], data: Any) -> Path:
    commits = {row["key"]: row.get("commit") for row in tables.rows}
    content = {
        "title": entry.title,
        "what": caption(entry.what, tables),
        "split": tables.split,
        "keys": keys,
        "commits": sorted({commit for key in keys if (commit := commits[key]) is not None}),
    }
    size = len(json.dumps(data, allow_nan=False))
    content["data"] = data if size <= LARGEST_DATA else f"left out: {size} characters"
    file = out / f"{file_stem(entry, tables)}.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return file
