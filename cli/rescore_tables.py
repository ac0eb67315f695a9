"""Tables of metrics that were computed from stored predictions."""

from collections.abc import Sequence

from rich.table import Table

from cli.tables import shorten
from sweeps.queries.rescore import Rescored, Worth
from sweeps.storage.store import Row
from sweeps.study.glossary import defined_glossary


def metric_table(metric: str, results: Sequence[Rescored]) -> Table:
    """One line per configuration: the mean over seeds with its 95 % interval."""
    lines = []
    for one in results:
        interval = one.value.interval
        ends = f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
        over = ("images, seeds" if len(one.rows) > 1 else "images") if interval else ""
        lines.append((one.rows, [f"{one.value.mean:.4f}", ends, over]))
    return _configuration_table(lines, [metric, "95 %", "over"])


def equivalent_table(results: Sequence[Worth]) -> Table:
    """One line per configuration: its deep-ensemble equivalent."""
    lines = []
    for one in results:
        interval = one.equivalent.ends
        ends = [f"[{interval[0]}, {interval[1]}]", "seeds"] if interval else ["", ""]
        lines.append((one.rows, [str(one.equivalent), *ends]))
    return _configuration_table(lines, ["deep_ensemble_equivalent", "95 %", "over"])


def _configuration_table(lines: Sequence[tuple[Sequence[Row], Sequence[str]]], headings: Sequence[str]) -> Table:
    """Add a column for every hyperparameter in which configurations differ."""
    firsts = [rows[0] for rows, _ in lines]
    names = defined_glossary().differing(firsts)
    table = Table()
    for name in ("trial", "construction", *names, "seeds", *headings):
        table.add_column(name, no_wrap=name in ("trial", "construction"))  # a key that is cut names nothing
    for rows, cells in lines:
        values = [shorten(str(value)) if (value := rows[0].get(name)) is not None else "" for name in names]
        seeds = ", ".join(str(row["seed"]) for row in rows)
        table.add_row(rows[0]["key"][:8], rows[0]["construction"], *values, seeds, *cells)
    return table
