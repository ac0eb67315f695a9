"""Draw every figure, build every table, and write the report."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis.answers.headline import answer_questions
from analysis.answers.summary import summary_text
from analysis.data.queries import Row, Tables, best_by_construction
from analysis.errors import Missing
from analysis.output import registry, style
from analysis.output import write as files
from analysis.output.registry import Entry
from analysis.report import lead, page, planes, trials
from analysis.report.chart import front_chart
from analysis.tables.main import HEADLINE_WHAT, headline_sheet
from analysis.verify import check_yardsticks, unknown_datasets

SHOWN = 2
"""Sentences of an answer that show, beside its first; the others fold."""
WIDE = 760
"""Width in pixels above which a phone scrolls a figure instead of shrinking it."""


NO_MARKUP = Markup("")


@dataclass
class Made:
    """A figure or table in the page: its markup, or what is missing and the commands that add it."""

    entry: Entry
    markup: Markup = NO_MARKUP
    missing: str = ""
    commands: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def write_report(tables: Tables, out: Path | None = None, formats: Sequence[str] = ("png",)) -> Path:
    """Write figures, tables and summary to `out` (default: RESULTS/figures), and the page to the results folder."""
    out = out or tables.folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    figures = [_make_figure(entry, tables, out, formats) for entry in registry.figure_entries()]
    sheets = [_make_table(entry, tables, out) for entry in registry.table_entries()]
    (out / "summary.md").write_text(summary_text(tables), encoding="utf-8")
    target = tables.folder / ("report.html" if tables.split == "test" else f"report-{tables.split}.html")
    target.write_text(_page_text(tables, figures, sheets), encoding="utf-8")
    return target


def _make_figure(entry: Entry, tables: Tables, out: Path, formats: Sequence[str]) -> Made:
    try:
        with style.house_style():
            drawn = files.draw_figure(entry, tables)
            style.fix_layout(drawn.figure)
            pixels = style.rasterise(drawn.figure)
            files.save_figure(drawn, entry, tables, out, formats, pixels)
            data = lead.encode_pixels(pixels)
    except Missing as missing:
        return Made(entry, missing=str(missing), commands=files.adding_commands(entry, tables))
    width, height = (round(size * lead.DPI) for size in drawn.figure.get_size_inches())
    markup = page.render(
        "image.html",
        kind="wide" if width > WIDE else "narrow",
        width=width,
        height=height,
        alt=f"{entry.title}. {files.caption(entry.what, tables)}",
        source=f"data:image/webp;base64,{data}",
    )
    return Made(entry, markup, keys=drawn.keys)


def _make_table(entry: Entry, tables: Tables, out: Path) -> Made:
    try:
        sheet = files.build_sheet(entry, tables)
        files.save_sheet(sheet, entry, tables, out)
    except Missing as missing:
        return Made(entry, missing=str(missing), commands=files.adding_commands(entry, tables))
    return Made(entry, page.sheet_table(sheet), keys=sheet.keys)


def _page_text(tables: Tables, figures: Sequence[Made], sheets: Sequence[Made]) -> str:
    held = trials.shown_rows(tables)
    keys = {row["key"] for row in held}
    others = [row for row in tables.rows if row["key"] not in keys]
    made = [*figures, *sheets]
    looks = style.looks(tables)
    state = _page_state(tables, held, others)
    sections = {
        "Answer": _answers_section(tables),
        "Explore": page.explorer_section(list(looks), held=len(held), out=len(others)),
        "Valleys": page.planes_section(state["planes"], planes.MOST_SIDE),
        "Questions": _question_groups(made, tables),
        "References": page.yardstick_table(check_yardsticks(tables), unknown_datasets(tables)),
        "Provenance": _provenance_table(tables),
        "Not shown": page.missing_table([one for one in made if one.missing]),
    }
    title = " + ".join(folder.resolve().name for folder in (tables.folder, *tables.more))
    text = json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return page.whole_page(title, {name: markup for name, markup in sections.items() if markup}, text)


def _page_state(tables: Tables, held: Sequence[Row], others: Sequence[Row]) -> dict[str, Any]:
    """Return the data that the page draws: every number in it was computed here."""
    columns = trials.trial_columns(tables, held)
    facts = trials.column_facts(tables, columns)
    looks = style.looks(tables)
    storage = files.storage_option(tables)
    return {
        "split": tables.split,
        "trials": columns,
        "columns": facts,
        "details": trials.trial_details(tables, [row["key"] for row in held]),
        "deep": trials.reference_levels(tables, facts),
        "fences": trials.column_fences(tables, held, facts),
        "cells": trials.counted_cells(tables, others),
        "fronts": trials.validation_fronts(tables),
        "planes": planes.page_planes(tables),
        "chosen": trials.chosen_configurations(tables),
        "defaults": trials.sweep_defaults(tables),
        "looks": {name: look.colour for name, look in looks.items()},
        "spec": front_chart(looks),
        "storage": f" {shlex.join(storage)}" if storage else "",
    }


def _question_groups(made: Sequence[Made], tables: Tables) -> Markup:
    """Return the figures and tables that there are, by the question that they help to answer."""
    groups = []
    for question in registry.QUESTIONS:
        shown = [_entry_article(one, tables) for one in made if one.entry.question == question and not one.missing]
        if shown:
            groups.append((question, NO_MARKUP.join(shown)))
    return page.render("questions.html", groups=groups)


def _entry_article(made: Made, tables: Tables) -> Markup:
    first, _, rest = files.caption(made.entry.what, tables).partition(". ")
    first = first if first.endswith(".") else f"{first}."
    facts = {"first": first, "rest": rest, "trials": len(set(made.keys))}
    return page.render("article.html", entry=made.entry, markup=made.markup, **facts)


def _answers_section(tables: Tables) -> Markup:
    """Return the answer of each (dataset, model): its sentence, its pictures, its table, and all other sentences."""
    answers = []
    for setting, lines in answer_questions(tables).items():
        with style.house_style():
            pictures = [_picture(one) for one in lead.lead_pictures(tables, setting)]
        lead_line, *others = lines or [""]
        title = f"{' · '.join(setting)}, {tables.split} split"
        table = page.sheet_table(headline_sheet(tables, best_by_construction(tables)[setting]))
        answer = {"title": title, "lead": lead_line, "shown": others[:SHOWN], "folded": others[SHOWN:]}
        answers.append(answer | {"pictures": pictures, "table": table})
    return page.render("answers.html", answers=answers, explained=files.caption(HEADLINE_WHAT, tables))


def _picture(picture: lead.Picture) -> Markup:
    style.fix_layout(picture.figure)
    width, height = (round(size * lead.DPI) for size in picture.figure.get_size_inches())
    data = lead.encode_pixels(style.rasterise(picture.figure))
    return page.render("picture.html", picture=picture, width=width, height=height, data=data)


PROVENANCE = {
    "sweep": "sweep", "role": "role", "status": "status", "commit": "commit of the code",
    "dirty": "uncommitted changes", "sources": "hash of the code", "plugins": "plugins", "device_name": "device",
    "threads": "threads", "data_hash": "hash of the data", "python_version": "python version",
    "torch_version": "torch version",
}  # fmt: skip
"""Column → its heading in the section on provenance."""
MOST_CLASSES = 100
"""Classes that are listed one by one."""
MOST_VALUES = 8
"""Values of a column that are listed one by one."""


def _plain_word(value: object) -> str:
    return {"true": "yes", "false": "no"}.get(str(value).lower(), str(value))


def _provenance_table(tables: Tables) -> Markup:
    facts = {"trials": f"{len(tables.rows):,}"}
    for name, heading in PROVENANCE.items():
        counts = Counter(_plain_word(row[name]) for row in tables.rows if row.get(name) is not None)
        if counts:
            facts[heading] = _counted_values(counts)
    ends = sorted(str(row["finished_at"])[:19] for row in tables.rows if row.get("finished_at"))
    if ends:
        facts["finished"] = f"{ends[0]} to {ends[-1]} UTC"
    for folder in (tables.folder, *tables.more):
        if classes := _class_facts(folder):
            facts[f"classes of {folder.resolve().name}"] = classes
    return page.render("provenance.html", facts=facts)


def _class_facts(folder: Path) -> str:
    """Names of the classes and their images, from the manifest of a sweep; nothing if it does not have them."""
    try:
        images = json.loads((folder / "sweep.json").read_text())["data"]["images"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    listed = [f"{name} ({count['train']} training, {count['test']} test)" for name, count in images.items()]
    more = f" and {len(listed) - MOST_CLASSES} more" if len(listed) > MOST_CLASSES else ""
    return ", ".join(listed[:MOST_CLASSES]) + more


def _counted_values(counts: Counter[str]) -> str:
    listed = ", ".join(f"{value} ({count})" for value, count in counts.most_common(MOST_VALUES))
    return listed + (f" and {len(counts) - MOST_VALUES} more" if len(counts) > MOST_VALUES else "")
