"""Summary in Markdown: a table over seeds, and sentences no stronger than the paired intervals allow."""

from collections import Counter
from itertools import chain

from analysis.answers.construction_table import seeds_cell
from analysis.answers.differences import paired_difference
from analysis.answers.headline import answer_questions
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import LEAST_SEEDS, in_words
from analysis.constructions import compared_pairs, label, order
from analysis.data.configurations import is_finished
from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    best_by_construction,
    candidates,
    configurations,
    estimate_metric,
    front_configurations,
)
from analysis.output.sheet import Cell, Column, Sheet
from analysis.tables import main

SHOWN = ("accuracy", "member_mean_accuracy", "nll", "soup_accuracy", "q_bar")
COMPARED = (
    ("Connectivity q̄ (descriptive: values above 0 are no improvement)", "q_bar", "points", 2, ""),
    ("Accuracy", "accuracy", "points", 2, "higher"),
    ("NLL", "nll", "nats", 3, "lower"),
)
"""Heading, metric, unit of a difference, digits, and which is better."""
CAVEAT = (
    "Differences are paired by seed and image. Intervals are 95 %, over seeds and images where trials keep per-image "
    "outcomes and over seeds alone (Student t) elsewhere, without multiple-comparison correction; the interval of a "
    "single seed is over images alone and does not cover other seeds. Verdicts hold for these seeds: `in one basin` "
    "certifies the average pair, `not in one basin` that some pair is beyond the margin. "
    "The weakest pair is the one with the largest mean loss; its interval holds for all pairs and points at once."
)


def summary_text(tables: Tables) -> str:
    """Write the summary in Markdown: the number of trials, then sentences and a table per (dataset, model)."""
    finished = [row for row in tables.rows if is_finished(row)]
    roles = Counter(row["role"] for row in finished)
    counts = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    lost = len(tables.rows) - len(finished)
    also = f", {lost} that diverged or were stopped" if lost else ""
    parts = [f"# {tables.folder.name}: {len(finished)} finished trials ({counts}){also}"]
    said = answer_questions(tables)
    for setting, by_name in best_by_construction(tables).items():
        parts += [f"## {' · '.join(setting)}, {tables.split} split"]
        parts += ["\n".join(f"- {line}" for line in said[setting]), _seeds_table(tables, by_name)]
        parts += [*_front_paragraphs(tables, setting), *_comparison_paragraphs(tables, by_name)]
        started = {row["construction"] for row in tables.rows if (row["dataset"], row["model"]) == setting}
        finished_names = {one.construction for one in configurations(tables) if one.setting == setting}
        if others := [name for name in order(finished_names) if name not in by_name]:
            parts.append(f"Not compared, because of another recipe (training, width, members): {', '.join(others)}.")
        if unfinished := order(started - finished_names):
            parts.append(f"Not compared, because every trial diverged or was stopped: {', '.join(unfinished)}.")
    return "\n\n".join([*parts, CAVEAT]) + "\n"


def _seeds_table(tables: Tables, by_name: dict[str, Configuration]) -> str:
    enough = [name for name in order(by_name) if len(by_name[name].rows) >= LEAST_SEEDS]
    columns = [Column("construction", "construction", ""), Column("seeds", "seeds", "")]
    columns += [column for column in main.METRICS if column.name in SHOWN] + [Column("basin", "one basin", "")]
    rows = []
    for name in enough:
        configuration, seeds = by_name[name], len(by_name[name].rows)
        metrics = [Cell(estimate_metric(tables, configuration, metric), of=seeds) for metric in SHOWN]
        rows.append(
            [Cell(name), seeds_cell(configuration), *metrics, Cell(verdict_word(find_verdict(tables, configuration)))]
        )
    fewer = [f"{name} ({len(by_name[name].rows)})" for name in order(by_name) if name not in enough]
    note = f"Not in the table (fewer than {LEAST_SEEDS} seeds): {', '.join(fewer)}." if fewer else ""
    if not enough:
        return note
    return Sheet(columns, [rows], note or "Mean ± half of the 95 % interval.", []).markdown().rstrip()


def _front_paragraphs(tables: Tables, setting: Setting) -> list[str]:
    """List the validation front with the keys of its trials; nothing without a search or grid."""
    compared = sum(c.setting == setting for c in candidates(tables))
    front = front_configurations(tables, setting)
    if not front:
        return []
    named = ", ".join(f"{label(c.construction)} ({', '.join(sorted(c.keys))})" for c in front)
    kind = "searched or grid configurations"
    return [f"Pareto front of q̄ and accuracy on validation, {len(front)} of {compared} {kind}: {named}."]


def _comparison_paragraphs(tables: Tables, by_name: dict[str, Configuration]) -> list[str]:
    paragraphs, pairs = [], compared_pairs(by_name)
    for heading, metric, unit, digits, better in COMPARED:
        lines = []
        for x, y in pairs:
            if x in by_name and y in by_name:
                gap = paired_difference(tables, by_name[x], by_name[y], metric)
                lines.append(f"- {in_words(label(x), label(y), gap, unit, digits, better)}")
        if lines:
            paragraphs.append("\n".join([f"{heading}:", "", *lines]))
    absent = sorted(set(chain.from_iterable(pairs)) - by_name.keys())
    if absent:
        paragraphs.append(f"Not compared, because no trial is finished: {', '.join(absent)}.")
    return paragraphs
