"""Tables with one row per construction: its configuration over seeds."""

from collections.abc import Callable, Sequence
from itertools import chain

from analysis.answers.verdicts import NOT_MEASURED
from analysis.constructions import order
from analysis.data.queries import Configuration, Tables, best_by_construction, estimate_metric
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet

FIRST_COLUMNS = [Column(name, name, name) for name in ("dataset", "model", "construction", "seeds")]


def construction_sheet(
    tables: Tables,
    metrics: Sequence[Column],
    *,
    bold: Callable[[dict[str, Configuration], str], list[str]] | None = None,
    extra: Sequence[tuple[Column, Callable[[Configuration], Cell]]] = (),
    note: str = "",
) -> Sheet:
    """Build a table with one block per (dataset, model), the deep ensemble first.

    `bold` says which constructions of a block are best at a metric; `extra` are columns that are no metric. Raises
    Missing if no configuration has any of the metrics.
    """
    columns = [*FIRST_COLUMNS, *metrics, *(column for column, _ in extra)]
    blocks, keys = [], []
    for by_name in best_by_construction(tables).values():
        winners = {column.name: bold(by_name, column.name) if bold else [] for column in metrics}
        block = []
        for name in order(by_name):
            configuration = by_name[name]
            seeds = len(configuration.rows)
            values = [
                Cell(estimate_metric(tables, configuration, c.name), name in winners[c.name], seeds) for c in metrics
            ]
            identity = [Cell(configuration.dataset), Cell(configuration.model), Cell(name), seeds_cell(configuration)]
            block.append([*identity, *values, *(cell(configuration) for _, cell in extra)])
            keys += configuration.keys
        blocks.append(block)
    cells = chain.from_iterable(row[len(FIRST_COLUMNS) :] for row in chain.from_iterable(blocks))
    if all(cell.value in {None, NOT_MEASURED} for cell in cells):
        raise Missing(f"no finished trial has any of {', '.join(column.name for column in metrics)}")
    words = f"Split: {tables.split}. Mean ± half of the 95 % interval{note}."
    return Sheet(columns, blocks, words, keys)


def seeds_cell(configuration: Configuration) -> Cell:
    """Return the number of finished seeds: `5`, or `5 (1 diverged)`."""
    diverged = configuration.diverged
    return Cell(len(configuration.rows), aside=f" ({diverged} diverged)" if diverged else "")
