"""Reports of benchmarks, as text and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.machine import Limit
from benchmarks.timing import Timing, rate_ratio


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
    """Fraction of the rate at the machine's limit."""


@dataclass(frozen=True)
class Table:
    """Contestants that did the same kind of work."""

    title: str
    unit: str
    """Unit of the work."""
    reference: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Report:
    """The results of a benchmark."""

    benchmark: str
    machine: Mapping[str, str | int]
    tables: tuple[Table, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Numbers other than times: counts, growth, bytes; each name contains its unit."""
    limit: Limit | None = None
    sections: tuple[str, ...] = ()
    """Further parts of the answer, in Markdown."""


def compare_timings(
    title: str, timings: Mapping[str, Timing], *, unit: str, reference: str, limits: Mapping[str, float] | None = None
) -> Table:
    """Compare the contestants with `reference`, and those named in `limits` with the machine's limit."""
    lines = []
    for name, timing in timings.items():
        low, high = timing.spread
        most = (limits or {}).get(name)
        share = timing.rate / most if most else None
        lines.append(Line(name, timing.median, low, high, timing.rate, rate_ratio(timing, timings[reference]), share))
    return Table(title, unit, reference, tuple(lines))


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON data."""
    return asdict(report)


def as_text(report: Report) -> str:
    """The report as readable Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    parts = [f"# {report.benchmark}", facts]
    if report.limit:
        limit = report.limit
        parts.append(
            f"machine's limit: float32 {limit.float32 / 1e9:.4g} GFLOP/s, bfloat16 {limit.bfloat16 / 1e9:.4g} GFLOP/s, "
            f"memory {limit.bandwidth / 1e9:.4g} GB/s"
        )
    parts += [_table_text(table) for table in report.tables]
    parts += report.sections
    if report.numbers:
        parts.append("\n".join(f"- {name}: {value:.4g}" for name, value in report.numbers.items()))
    return "\n\n".join(parts)


def _table_text(table: Table) -> str:
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
    return f"**{table.title}**\n\n{markdown_report(heads, rows)}"


def markdown_report(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [heads, rule, *rows]
    )
