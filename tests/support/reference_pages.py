"""The pages docs/fields.md and docs/columns.md, made from the definitions of fields and columns.

`python -m tests.support.reference_pages` writes them.
"""

from pathlib import Path

from sweeps.queries.reference import column_entries, field_entries, table_meanings

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = "<!-- Made by `python -m tests.support.reference_pages`; do not edit. -->"
SECTIONS = {
    "dataset": "Fields of a dataset.",
    "model": "Fields of a model. A registered name such as `resnet20` sets those with the default *by name*.",
    "construction": "Fields of a construction.",
    "split": "How the images are divided; the same for all datasets.",
    "training": "How each network is trained.",
    "evaluation": "What is measured, and how.",
    "machine": "Where a trial runs; set with `--set` only. No part of a trial's key.",
}


FIELDS_HEAD = f"""{MADE}

# Fields

`--set FIELD=VALUE`, `--search FIELD=VALUES` and [study files](studies.md) take these names. A search draws from the
range in *searched over*, or from values that `--search` or the file states: any field of a construction or of the
training. `python launch.py fields FIELD` prints one field."""
COLUMNS_HEAD = f"""{MADE}

# Columns

The tables of a sweep are Parquet files, `results/NAME/tables/TABLE/KEY.parquet`. Unit, direction and meaning are in the
metadata of each field too. `python launch.py columns NAME` prints one table, or one column.
[Definitions](definitions.md) says how every number is computed."""


def fields_page() -> str:
    """Every field, by section."""
    parts, entries = [FIELDS_HEAD], field_entries()
    for section, words in SECTIONS.items():
        parts += ["", f"## {section.capitalize()}", "", words, ""]
        parts += ["| field | of | values | default | searched over | unit | meaning |", "|---|---|---|---|---|---|---|"]
        for entry in entries:
            if entry.section == section:
                cells = [f"`{entry.field.name}`", ", ".join(entry.owners) or "all", entry.values, entry.default]
                parts.append(_row(*cells, entry.search, entry.field.unit, entry.meaning))
    return "\n".join([*parts, ""])


def columns_page() -> str:
    """Every column, by table."""
    parts = [COLUMNS_HEAD]
    for table, words in table_meanings().items():
        parts += ["", f"## {table}", "", words, ""]
        parts += ["| column | type | unit | better | meaning |", "|---|---|---|---|---|"]
        for column in column_entries(table):
            parts.append(_row(f"`{column.name}`", column.kind, column.unit, column.better, column.meaning))
    return "\n".join([*parts, ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def pages() -> dict[Path, str]:
    """File → its text."""
    return {DOCS / "fields.md": fields_page(), DOCS / "columns.md": columns_page()}


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
        print(file.relative_to(DOCS.parent))
