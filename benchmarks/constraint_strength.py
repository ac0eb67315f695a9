"""Constraint strength: accuracy, barriers and diversity of each estimator against β, at the same number of passes.

Example: python -m benchmarks constraint-strength --threads 1 --out build/constraint.jsonl --set betas=0,1,10

Each finished ensemble is a line of JSON in the file that --out names. The same command after a stop continues with what
is not there.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from basin.environment import parse_assignments
from basin.errors import UsageError, one_of
from basin.strict_json import dump_json
from benchmarks.estimators import ESTIMATORS, Row, Task, digits_task, photographs_task, train
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced, tell_result
from benchmarks.report import Report, markdown_report

COLUMNS = {
    "accuracy": "accuracy %",
    "member_accuracy": "member accuracy %",
    "nll": "NLL nats",
    "barrier": "accuracy barrier, points",
    "loss_barrier": "loss barrier, nats",
    "distance": "member distance",
    "disagreement": "disagreement %",
}
"""Reported columns of an ensemble, on test images."""
TRENDS = ("barrier", "loss_barrier", "member_accuracy", "accuracy")
"""Columns whose trend in β is tested."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the comparison; lists are separated by commas."""

    estimators: str = ",".join(ESTIMATORS)
    """Estimators of the constraint's gradient."""
    betas: str = "0,0.1,0.3,1,3,10,30"
    """Constraint strengths."""
    seeds: str = "0,1,2,3,4"
    """Seeds of the trials."""
    tasks: str = "digits,photographs"
    """Tasks; photographs needs --data."""
    dataset: str = "cifar10"
    """Dataset of the photographs in --data: cifar10, or imagefolder for a folder with one folder a class."""
    changes: str = ""
    """Fields of every trial to change, as field=value, separated by commas."""


@dataclass(frozen=True)
class Cell:
    """One ensemble to train."""

    task: Task
    estimator: str
    beta: float
    seed: int

    @property
    def name(self) -> Row:
        """The values that identify its row in the file."""
        return {
            "task": self.task.name,
            "estimator": self.estimator,
            "beta": self.beta,
            "seed": self.seed,
            "recipe": json.dumps(self.task.settings, sort_keys=True, allow_nan=False),
        }

    def same(self) -> tuple[object, ...]:
        """Equal for cells that train the same ensemble."""
        return self.task.name, self.seed, str(ESTIMATORS[self.estimator].same(self.beta))


def run(options: Options) -> Report:
    """Train what the file does not have, then report mean ± half the 95 % t interval over seeds, and trends in β."""
    settings = options.settle(Settings())
    cells, path = list(_planned_cells(settings, options)), options.out
    rows = _read_rows(path) if path else []
    known = {_cell_identity(row): row for row in rows}
    trained = {cell.same(): known[_cell_identity(cell.name)] for cell in cells if _cell_identity(cell.name) in known}
    left = [cell for cell in cells if _cell_identity(cell.name) not in known]
    fresh = len({cell.same() for cell in left} - set(trained))
    threads, pace = torch.get_num_threads(), paced(range(fresh), "trainings")
    for cell in left:
        if cell.same() not in trained:
            next(pace)
            scores = train(cell.task, ESTIMATORS[cell.estimator], cell.beta, cell.seed, threads, options.device.type)
            trained[cell.same()] = scores
            tell_result(f"{cell.task.name}, {cell.estimator}, β = {cell.beta:g}, seed {cell.seed}", _score_text(scores))
        row = trained[cell.same()] | cell.name
        known[_cell_identity(row)] = row
        if path:
            _add_row(path, row)
    ordered = [known[_cell_identity(cell.name)] for cell in cells]
    sections: list[str] = []
    for task in dict.fromkeys(cell.task.name for cell in cells):
        sections += _report_sections(task, ordered)
    return Report("constraint-strength", describe_machine(options.device), (), sections=tuple(sections))


def _score_text(scores: Row) -> str:
    if "accuracy" not in scores:
        return "diverged"
    return f"{scores['accuracy']:.1f} %, barrier {scores['barrier']:.1f} points, {scores['seconds']:.1f} s"


def _planned_cells(settings: Settings, options: Options) -> Iterator[Cell]:
    changes = parse_assignments(filter(None, settings.changes.split(",")))
    tasks = {"digits": digits_task(changes), "photographs": photographs_task(settings.dataset, options.data, changes)}
    for task in settings.tasks.split(","):
        if task not in tasks:
            raise one_of("task", task, tasks)
        if task == "photographs" and options.data is None:
            continue
        for seed in _parse_numbers("seeds", settings.seeds, int):
            for beta in _parse_numbers("betas", settings.betas, float):
                for estimator in settings.estimators.split(","):
                    if estimator not in ESTIMATORS:
                        raise one_of("estimator", estimator, ESTIMATORS)
                    yield Cell(tasks[task], estimator, beta, int(seed))


def _parse_numbers(name: str, text: str, kind: Callable[[str], float]) -> list[float]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{name}={text}: expected numbers separated by commas") from None


def _cell_identity(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("task", "estimator", "beta", "seed", "recipe"))


def _read_rows(path: Path) -> list[Row]:
    """Read the rows of a file; a truncated last line is dropped."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _add_row(path: Path, row: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and not path.read_text().endswith("\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write("\n" * torn + dump_json(row) + "\n")


def _report_sections(task: str, rows: Sequence[Row]) -> list[str]:
    task_rows = [row for row in rows if row["task"] == task]
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in task_rows:
        groups.setdefault((str(row["estimator"]), float(row["beta"])), []).append(row)
    heads = ["estimator", "β", "seeds", "diverged", "epochs", "passes", *COLUMNS.values()]
    lines = [[name, f"{beta:g}", *_table_line(group)] for (name, beta), group in sorted(groups.items(), key=_row_order)]
    title = f"**{task}: K = 4, independent starts, t = 0; test images, mean ± half of the 95 % t interval over seeds**"
    trends = []
    for name in dict.fromkeys(str(row["estimator"]) for row in task_rows):
        estimated = [row for row in task_rows if row["estimator"] == name]
        trends += [[name, COLUMNS[column], *trend(estimated, column)] for column in TRENDS]
    words = f"**{task}: trend in β over all seeds, with two-sided p**"
    return [
        f"{title}\n\n{markdown_report(heads, lines)}",
        f"{words}\n\n{markdown_report(['estimator', 'column', 'n', 'Spearman', 'Kendall'], trends)}",
    ]


def _row_order(group: tuple[tuple[str, float], list[Row]]) -> tuple[int, float]:
    (name, beta), _ = group
    return list(ESTIMATORS).index(name), beta


def _table_line(group: Sequence[Row]) -> list[str]:
    scored = [row for row in group if "accuracy" in row]
    passes = {f"{row['passes']:.0f}" for row in scored}
    counts = [str(len(scored)), str(len(group) - len(scored)), f"{group[0]['epochs']:.0f}", ", ".join(passes)]
    return counts + [spread(float(row[column]) for row in scored) for column in COLUMNS]


def spread(values: Iterable[float]) -> str:
    """Mean ± half of the 95 % Student-t interval; of one value the value alone."""
    given = list(values)
    if not given:
        return ""
    mean, digits = statistics.fmean(given), 3 if abs(statistics.fmean(given)) < 10 else 1
    if len(given) == 1:
        return f"{mean:.{digits}f}"
    half = float(scipy_stats.t.ppf(0.975, len(given) - 1)) * statistics.stdev(given) / math.sqrt(len(given))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def trend(rows: Sequence[Row], column: str) -> list[str]:
    """Number of ensembles, and Spearman's and Kendall's correlation of a column with β, each with its p."""
    pairs = [(float(row["beta"]), float(row[column])) for row in rows if column in row]
    texts = [str(len(pairs))]
    for test in (scipy_stats.spearmanr, scipy_stats.kendalltau):
        if len({beta for beta, _ in pairs}) < 2 or len({value for _, value in pairs}) < 2:
            texts.append("")  # nothing varies
            continue
        result = test(*zip(*pairs, strict=True))
        texts.append(f"{result.statistic:+.2f} (p = {result.pvalue:.2g})")
    return texts
