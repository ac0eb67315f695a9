"""The summary in words: a table over seeds, and sentences as strong as the paired intervals bear."""

from collections import Counter

from analysis import style
from analysis.answers import answers
from analysis.bootstrap import difference
from analysis.queries import Configuration, Setting, Tables, best_by_construction, estimate
from analysis.sheet import Cell, Column, Sheet
from analysis.statistics import LEAST_SEEDS, in_words
from analysis.tables import main

SHOWN = ("accuracy", "member_mean_accuracy", "nll", "q_bar")
PAIRS = (("constrained", "deep"), ("distilled", "constrained"), ("distilled", "deep"))
COMPARED = (("Connectivity q̄", "q_bar", "points", 2), ("Accuracy", "accuracy", "points", 2), ("NLL", "nll", "nats", 3))
"""Heading, metric, unit of a difference, digits."""
CAVEAT = (
    "Differences are paired by seed, with 95 % Student-t intervals, each on its own (not corrected for their number). "
    "They are over test images too, by a paired bootstrap, where both trials keep their predictions "
    "(`--set predictions=true`); elsewhere other test images would move them further."
)


def summary(tables: Tables) -> str:
    """Markdown that reads in a terminal too: how many trials, then a table and sentences per (dataset, model)."""
    roles = Counter(row["role"] for row in tables.rows)
    counts = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    parts = [f"# {tables.folder.name}: {len(tables.rows)} finished trials ({counts})"]
    said = answers(tables)
    for setting, by_name in best_by_construction(tables).items():
        parts += [f"## {' · '.join(setting)}, {tables.split} split"]
        parts += ["\n".join(f"- {line}" for line in said[setting]), _table(tables, by_name)]
        parts += _sentences(tables, by_name)
        others = [name for name in style.order(_there(tables, setting)) if name not in by_name]
        if others:
            parts.append(f"Of another recipe (training, width, members), and so not compared: {', '.join(others)}.")
    return "\n\n".join([*parts, CAVEAT]) + "\n"


def _there(tables: Tables, setting: Setting) -> set[str]:
    return {row["construction"] for row in tables.rows if (row["dataset"], row["model"]) == setting}


def _table(tables: Tables, by_name: dict[str, Configuration]) -> str:
    enough = [name for name in style.order(by_name) if len(by_name[name].rows) >= LEAST_SEEDS]
    columns = [Column("construction", "construction", ""), Column("seeds", "seeds", "")]
    columns += [column for column in main.METRICS if column.name in SHOWN]
    rows = []
    for name in enough:
        own, seeds = by_name[name], len(by_name[name].rows)
        rows.append([Cell(name), Cell(seeds), *(Cell(estimate(tables, own, metric), of=seeds) for metric in SHOWN)])
    fewer = [f"{name} ({len(by_name[name].rows)})" for name in style.order(by_name) if name not in enough]
    note = f"Fewer than {LEAST_SEEDS} seeds, not in the table: {', '.join(fewer)}." if fewer else ""
    if not enough:
        return note
    return Sheet(columns, [rows], note or "Mean ± half of the 95 % t interval over seeds.", []).markdown().rstrip()


def _sentences(tables: Tables, by_name: dict[str, Configuration]) -> list[str]:
    paragraphs = []
    for heading, metric, unit, digits in COMPARED:
        lines = [
            f"- {in_words(x, y, difference(tables, by_name[x], by_name[y], metric), unit, digits)}"
            for x, y in PAIRS
            if x in by_name and y in by_name
        ]
        if lines:
            paragraphs.append("\n".join([f"{heading}:", "", *lines]))
    absent = sorted({name for pair in PAIRS for name in pair} - by_name.keys())
    if absent:
        paragraphs.append(f"Not compared, for want of finished trials: {', '.join(absent)}.")
    return paragraphs
