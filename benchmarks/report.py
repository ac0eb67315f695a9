"""What a benchmark found, as text and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.machine import Limit
from benchmarks.timing import Timing, ratio


@dataclass(frozen=True)
class Line:
    """One contestant."""

    contestant: str
    median: float
    """Seconds."""
    fastest: float
    slowest: float
    rate: float
    """Units of work a second."""
    ratio: float
    """Times the rate of the reference."""
    share: float | None
    """Of the rate at the machine's limit."""


@dataclass(frozen=True)
class Table:
    """Contestants that did the same kind of work."""

    title: str
    unit: str
    """Of the work."""
    reference: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Report:
    """A benchmark's answer."""

    benchmark: str
    machine: Mapping[str, str | int]
    tables: tuple[Table, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What is no contestant's time: counts, growth, bytes; each name says its unit."""
    limit: Limit | None = None


def compare(
    title: str, timings: Mapping[str, Timing], *, unit: str, reference: str, limits: Mapping[str, float] | None = None
) -> Table:
    """The contestants beside `reference`, and those named in `limits` beside the rate at the machine's limit."""
    lines = []
    for name, timing in timings.items():
        low, high = timing.spread
        most = (limits or {}).get(name)
        share = timing.rate / most if most else None
        lines.append(Line(name, timing.median, low, high, timing.rate, ratio(timing, timings[reference]), share))
    return Table(title, unit, reference, tuple(lines))


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    return asdict(report)


def as_text(report: Report) -> str:
    """The report as Markdown that can be read as it is."""
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    parts = [f"# {report.benchmark}", facts]
    if report.limit:
        found = report.limit
        parts.append(
            f"machine's limit: float32 {found.float32 / 1e9:.4g} GFLOP/s, bfloat16 {found.bfloat16 / 1e9:.4g} GFLOP/s, "
            f"memory {found.bandwidth / 1e9:.4g} GB/s"
        )
    parts += [_text(table) for table in report.tables]
    if report.numbers:
        parts.append("\n".join(f"- {name}: {value:.4g}" for name, value in report.numbers.items()))
    return "\n\n".join(parts)


def _text(table: Table) -> str:
    heads = ["contestant", "median s", "fastest–slowest s", f"{table.unit}/s", f"× {table.reference}", "of the limit"]
    rows = [
        [
            line.contestant,
            f"{line.median:.4g}",
            f"{line.fastest:.4g}–{line.slowest:.4g}",
            f"{line.rate:.4g}",
            f"{line.ratio:.3g}",
            "" if line.share is None else f"{100 * line.share:.3g} %",
        ]
        for line in table.lines
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    rule = ["-" * width for width in widths]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [heads, rule, *rows]
    ]
    return "\n".join([f"**{table.title}**", "", *lines])
