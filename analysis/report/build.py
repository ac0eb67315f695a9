"""Draws, writes and gathers everything, and puts it into one page."""

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from analysis import registry, style
from analysis import write as files
from analysis.answers import answers
from analysis.errors import Missing
from analysis.queries import Tables, best_by_construction, estimate
from analysis.registry import Entry
from analysis.report import page, trials
from analysis.report.chart import front
from analysis.summary import summary
from analysis.verify import unknown, verdicts

DPI = 130
"""Of the figures in the page: sharp on a phone, and small."""
WIDE = 640
"""Pixels from which a figure is scrolled on a phone: shrunk to the screen it could not be read."""


@dataclass
class Made:
    """A figure or table in the page: its markup, or what is missing and the command that makes it."""

    entry: Entry
    markup: str = ""
    missing: str = ""
    keys: list[str] = field(default_factory=list)


def write(tables: Tables, out: Path | None = None, formats: Sequence[str] = ("png", "pdf")) -> Path:
    """Writes figures, tables and summary into `out` (default: RESULTS/figures) and the page beside the tables."""
    out = out or tables.folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    figures = [_figure(entry, tables, out, formats) for entry in registry.figures()]
    sheets = [_table(entry, tables, out) for entry in registry.tables()]
    (out / "summary.md").write_text(summary(tables), encoding="utf-8")
    target = tables.folder / ("report.html" if tables.split == "test" else f"report-{tables.split}.html")
    target.write_text(_page(tables, figures, sheets), encoding="utf-8")
    return target


def _figure(entry: Entry, tables: Tables, out: Path, formats: Sequence[str]) -> Made:
    try:
        with style.house_style():
            drawn = files.draw(entry, tables)
            files.save(drawn, entry, tables, out, formats)
            image = io.BytesIO()
            drawn.figure.savefig(image, format="webp", dpi=DPI, pil_kwargs={"quality": 80, "method": 4})
    except Missing as missing:
        return Made(entry, missing=files.remedy(entry, tables, missing))
    width, height = (round(size * DPI) for size in drawn.figure.get_size_inches())
    data = base64.b64encode(image.getvalue()).decode()
    alt = escape(f"{entry.title}. {entry.what}")
    source = f"data:image/webp;base64,{data}"
    kind = "wide" if width > WIDE else "narrow"
    markup = f'<img class="{kind}" width="{width}" height="{height}" alt="{alt}" src="{source}">'
    return Made(entry, markup, keys=drawn.keys)


def _table(entry: Entry, tables: Tables, out: Path) -> Made:
    try:
        sheet = files.sheet(entry, tables)
        files.save_sheet(sheet, entry, tables, out)
    except Missing as missing:
        return Made(entry, missing=files.remedy(entry, tables, missing))
    return Made(entry, sheet.html(), keys=sheet.keys)


def _page(tables: Tables, figures: Sequence[Made], sheets: Sequence[Made]) -> str:
    held = trials.shown(tables)
    keys = {row["key"] for row in held}
    others = [row for row in tables.rows if row["key"] not in keys]
    data = trials.columns(tables, held)
    looks = style.looks(tables)
    tips = [("key", "trial", False), ("construction", "construction", False), ("role", "role", False)]
    tips += [("seed", "seed", False), ("q", "q̄ (points)", True)]
    quality = [f"{tables.split}_{metric}" for metric in ("accuracy", "member_mean_accuracy", "nll", "ece")]
    tips += [(name, name, True) for name in quality if name in data["varied"]]
    tips += [(name, name, _number(data["varied"][name])) for name in data["searched"]]
    state = {
        "split": tables.split,
        "trials": data,
        "details": trials.details(tables, [row["key"] for row in held]),
        "deep": _deep(tables),
        "cells": trials.counted(tables, others),
        "looks": {name: look.colour for name, look in looks.items()},
        "spec": front(looks, tips),
    }
    sections = {
        "Answers": _answers(tables),
        "Explore": page.explorer(list(looks), held=len(held), out=len(others)),
        "Figures": "".join(_entry(made) for made in figures),
        "Tables": "".join(_entry(made) for made in sheets),
        "Yardsticks": page.yardsticks(verdicts(tables), unknown(tables)),
        "Provenance": _provenance(tables),
    }
    title = " + ".join(folder.resolve().name for folder in (tables.folder, *tables.more))
    return page.document(title, sections, json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _deep(tables: Tables) -> dict[str, dict[str, float]]:
    """What the deep ensemble of the others' recipe reaches, mean over seeds, by dataset and model."""
    found: dict[str, dict[str, float]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for metric in ("accuracy", "nll"):
            level = estimate(tables, by_name["deep"], metric) if "deep" in by_name else None
            if level:
                found.setdefault(" · ".join(setting), {})[metric] = level.mean
    return found


def _number(values: Sequence[Any]) -> bool:
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values)


def _answers(tables: Tables) -> str:
    parts = []
    for setting, lines in answers(tables).items():
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f"<h3>{escape(' · '.join(setting))}, {tables.split} split</h3><ul>{items}</ul>")
    return "".join(parts)


def _entry(made: Made) -> str:
    name, title = made.entry.name, escape(made.entry.title)
    if made.missing:
        body = f'<p class="missing">Not made: {escape(made.missing)}</p>'
    else:
        count = len(set(made.keys))
        body = f'<div class="scroll">{made.markup}</div><p class="what">{escape(made.entry.what)} ({count} trials)</p>'
    return f'<article id="{name}"><h3>{title}</h3>{body}</article>'


def _provenance(tables: Tables) -> str:
    facts = {
        "sweep": "sweep",
        "role": "role",
        "status": "status",
        "commit": "commit of the code",
        "dirty": "changed since",
    }
    facts |= {"device_name": "device", "threads": "threads", "data_hash": "hash of the data"}
    facts |= {name: name.replace("_", " ") for name in ("python_version", "torch_version")}
    rows = [f"<tr><th>trials</th><td>{len(tables.rows):,}</td></tr>"]
    for name, words in facts.items():
        counts = Counter(str(row[name]) for row in tables.rows if row.get(name) is not None)
        told = ", ".join(f"{value} ({count})" for value, count in counts.most_common(8))
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        rows += [f"<tr><th>{words}</th><td>{escape(told + more)}</td></tr>"] if told else []
    ends = sorted(str(row["finished_at"])[:19] for row in tables.rows if row.get("finished_at"))
    rows += [f"<tr><th>finished</th><td>{ends[0]} to {ends[-1]} UTC</td></tr>"] if ends else []
    return f'<div class="scroll"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'
