"""Stable verdicts: what lies in one basin, trained with one thread or two, in float32 or bfloat16.

Other thread counts and precisions stand in for other processors: they change the last bits of every step, and so the
weights that training ends at. The quickstart's constructions are trained in each way, and judged as the sweep judges.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from basin.environment import Machine, Place, parse_assignments
from basin.spec import Bounds, Checked
from basin.trial import Trial, overlay
from basin.trial import run as run_trial
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced, tell_result
from benchmarks.report import Report
from stats.verdicts import MARGIN, loss_margin
from sweeps.queries.verdicts import MEASURES, joint_verdict
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import outcome_rows
from sweeps.study.catalog import quickstart

CLASSES = 10
CONSTRUCTIONS: Mapping[str, Mapping[str, object]] = {
    "deep": {},
    "swe": {},
    "permuted": {},
    "constrained": {"t": 0.01, "beta": 8.0},
    "distilled": {"t": 0.01, "beta": 8.0, "temperature": 2.5, "weight": 0.5},
}
"""Settings near what the quickstart's search chooses."""
WAYS: Mapping[str, tuple[int, str]] = {
    "1 thread, float32": (1, "float32"),
    "2 threads, float32": (2, "float32"),
    "1 thread, bfloat16": (1, "bfloat16"),
}
"""Threads of a trial, and precision of its training."""


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Number of seeds of a verdict."""

    seeds: Annotated[int, Bounds(1)] = 5
    """Seeds of each ensemble, from 1 on."""
    constructions: str = ",".join(CONSTRUCTIONS)
    """Constructions that are trained, separated by commas."""
    changes: str = ""
    """Fields of every trial to change, as field=value, separated by commas."""


def run(options: Options) -> Report:
    """Report the verdict on the test split of each construction and way, and how many verdicts are not the same."""
    settings = options.settle(Settings())
    common = parse_assignments(filter(None, settings.changes.split(",")))
    base = overlay(quickstart(None).base, common)
    verdicts: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cells = list(product(WAYS, settings.constructions.split(",")))
        for way, name in paced(cells, "constructions and ways"):
            threads, precision = WAYS[way]
            machine = Machine(device="cpu", threads=threads)
            place = Place(machine=machine, runs=Path(folder, f"{threads}-{precision}"))
            place.prepare()
            changes = {"construction": name, "precision": precision, **CONSTRUCTIONS[name]}
            judged = _judge_construction(overlay(base, changes), settings.seeds, place)
            tell_result(f"{name}, {way}", ", ".join(f"{measure} {text}" for measure, text in judged.items()))
            for measure, text in judged.items():
                verdicts.setdefault(f"{name}, {measure}", {})[way] = text
    answers = [{text.split()[0] for text in row.values()} for row in verdicts.values()]
    numbers = {
        "verdicts": float(len(answers)),
        "verdicts that differ between ways": float(sum(len(of) > 1 for of in answers)),
        "verdicts that say yes in one way and no in another": float(sum({"yes", "no"} <= of for of in answers)),
    }
    return Report(
        "stable-verdicts", describe_machine(options.device), (), numbers, sections=(_verdict_table(verdicts),)
    )


def _judge_construction(trial: Trial, seeds: int, place: Place) -> dict[str, str]:
    """Train the construction from each seed; return its verdicts with the upper and lower bound."""
    numbers = list(range(1, 1 + seeds))
    tables = [_outcome_table(overlay(trial, {"seed": seed}), place) for seed in numbers]
    margins = dict.fromkeys(MEASURES, MARGIN) | {"loss": loss_margin(CLASSES)}
    verdicts = {measure: joint_verdict(tables, numbers, "test", measure, margins[measure]) for measure in MEASURES}
    return {measure: _verdict_text(entry) for measure, entry in verdicts.items() if entry is not None}


def _outcome_table(trial: Trial, place: Place) -> pa.Table:
    outcome = run_trial(trial, place)
    return pa.Table.from_pylist(outcome_rows("", outcome), schema=SCHEMAS["outcomes"]())


def _verdict_text(entry: Mapping[str, Any]) -> str:
    return f"{entry['answer']} ({entry['upper']:.3g}; {entry['lower']:.3g})"


def _verdict_table(verdicts: Mapping[str, Mapping[str, str]]) -> str:
    lines = [f"| verdict (upper bound of the mean path; lower bound of the worst) | {' | '.join(WAYS)} |"]
    lines.append("|---" * (1 + len(WAYS)) + "|")
    lines += [f"| {name} | {' | '.join(row[way] for way in WAYS)} |" for name, row in verdicts.items()]
    return "\n".join(lines)
