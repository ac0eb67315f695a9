"""The best tradeoffs as a table for people, and as CSV; numbers computed after the fact."""

import csv
import io
from collections.abc import Sequence
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit  # type: ignore[import-untyped]

from sweeps.best import Best
from sweeps.reading import Run
from sweeps.rescore import Rescored, Worth
from sweeps.schemas import hyperparameters
from sweeps.space import varying_names
from sweeps.store import Row

COLUMNS = ("accuracy", "member_mean_accuracy", "nll", "q_bar_reset")


def print_best(answer: Best, split: str, console: Console) -> None:
    """The front, the best at each floor of connectivity, and the reference."""
    console.print(_front(answer, split))
    corner = f"{answer.x} > {answer.corner[0]:g}, {answer.y} > {answer.corner[1]:g}"
    console.print(f"hypervolume of the front on validation: {answer.hypervolume:.1f} (area above {corner})")
    if answer.infeasible:
        shown = "none does not, and so these are shown" if not all(run.feasible for run in answer.front) else "left out"
        console.print(f"{answer.infeasible} trials violate the sweep's constraints: {shown}")
    console.print(_floors(answer, split))


def as_csv(answer: Best, split: str) -> str:
    """The front and the reference, one line a trial."""
    text = io.StringIO()
    shown = _columns(answer)
    names = varying_names([run.params for run in answer.front])
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "role", "construction", *names, *(f"{split}_{name}" for name in shown)])
    for run in [*answer.front, *answer.reference]:
        values = [run.metrics.get(f"{split}_{name}", "") for name in shown]
        writer.writerow([run.key, run.role, run.construction, *(run.params.get(name, "") for name in names), *values])
    return text.getvalue()


def _columns(answer: Best) -> list[str]:
    return list(dict.fromkeys([answer.x, answer.y, *COLUMNS]))


def _front(answer: Best, split: str) -> Table:
    title = f"Non-dominated trials by {answer.x} and {answer.y}, chosen on validation; numbers: {split}"
    shown = _columns(answer)
    names = varying_names([run.params for run in answer.front])
    table = Table("trial", "construction", *names, title=title, title_justify="left")
    for name in shown:
        table.add_column(name, justify="right")
    for run in answer.front:
        hyperparameters = [_short(run.params.get(name, "")) for name in names]
        table.add_row(run.key[:8], run.construction, *hyperparameters, *_numbers([run], shown, split))
    if answer.reference:
        table.add_section()
        count = len(answer.reference)
        label = f"mean of {count} seeds, ± 95 %" if count > 1 else "one seed"
        table.add_row(
            label, answer.reference[0].construction, *("" for _ in names), *_numbers(answer.reference, shown, split)
        )
    return table


def _floors(answer: Best, split: str) -> Table:
    floors = list(next(iter(answer.floors.values()), {}))
    table = Table(
        "construction",
        *(f"q_bar ≥ {floor:g}" for floor in floors),
        title=f"Best {answer.y} at connectivity of at least, chosen on validation; numbers: {split}",
        title_justify="left",
    )
    for construction, chosen in answer.floors.items():
        table.add_row(construction, *(_cell(run, answer.y, split) for run in chosen.values()))
    if answer.reference:
        value = _numbers(answer.reference, [answer.y], split)[0]
        table.add_row(f"{answer.reference[0].construction} (reference)", f"{value} at any", *("" for _ in floors[1:]))
    return table


def _cell(run: Run | None, y: str, split: str) -> str:
    return f"{run.metrics[f'{split}_{y}']:.2f} ({run.key[:8]})" if run else "none"


def _numbers(runs: Sequence[Run], names: Sequence[str], split: str) -> list[str]:
    return [_mean([r.metrics[full] for r in runs if (full := f"{split}_{name}") in r.metrics], name) for name in names]


def _mean(values: Sequence[float], name: str) -> str:
    """Of several seeds with half of the 95 % Student-t interval."""
    if not values:
        return "–"  # a single member has no pairs, a network without BatchNorm one policy
    digits = 3 if "nll" in name else 2
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.{digits}f} ± {half:.{digits}f}"


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text


def rescored(metric: str, found: Sequence[Rescored]) -> Table:
    """A line for each configuration: its mean over seeds and where 95 % of the resamples lie."""
    lines = []
    for one in found:
        ends = f"[{one.interval.low:.4f}, {one.interval.high:.4f}]" if one.interval else ""
        over = ("images, seeds" if len(one.rows) > 1 else "images") if one.interval else ""
        lines.append((one.rows, [f"{one.value:.4f}", ends, over]))
    return _configurations(lines, [metric, "95 %", "over"])


def worths(found: Sequence[Worth]) -> Table:
    """A line for each configuration: how many members of a deep ensemble it is worth."""
    lines = []
    for one in found:
        ends = [f"[{one.ends[0]}, {one.ends[1]}]", "seeds"] if one.ends else ["", ""]
        lines.append((one.rows, [str(one.equivalent), *ends]))
    return _configurations(lines, ["deep_ensemble_equivalent", "95 %", "over"])


def _configurations(lines: Sequence[tuple[Sequence[Row], Sequence[str]]], headings: Sequence[str]) -> Table:
    """With a column for every hyperparameter in which configurations that have it differ."""
    firsts = [rows[0] for rows, _ in lines]
    names = [f.name for f in hyperparameters() if len({row.get(f.name) for row in firsts} - {None}) > 1]
    table = Table("trial", "construction", *names, "seeds", *headings)
    for rows, cells in lines:
        values = [_short(str(value)) if (value := rows[0].get(name)) is not None else "" for name in names]
        seeds = ", ".join(str(row["seed"]) for row in rows)
        table.add_row(rows[0]["key"][:8], rows[0]["construction"], *values, seeds, *cells)
    return table
