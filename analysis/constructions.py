"""Tables with one row a construction: its configuration over seeds."""

from collections.abc import Callable, Sequence

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Tables, best_by_construction, estimate
from analysis.sheet import Cell, Column, Sheet

IDENTITY = [Column(name, name, name) for name in ("dataset", "model", "construction", "seeds")]


def by_construction(
    tables: Tables,
    metrics: Sequence[Column],
    *,
    bold: Callable[[dict[str, Configuration], str], list[str]] | None = None,
    extra: Sequence[tuple[Column, Callable[[Configuration], Cell]]] = (),
    note: str = "",
) -> Sheet:
    """One block a (dataset, model), the deep ensemble first as the reference.

    `bold` says which constructions of a block are best at a metric; `extra` are columns that are no metric. Raises
    Missing if no configuration has any of the metrics.
    """
    columns = [*IDENTITY, *metrics, *(column for column, _ in extra)]
    blocks, keys = [], []
    for by_name in best_by_construction(tables).values():
        winners = {column.name: bold(by_name, column.name) if bold else [] for column in metrics}
        block = []
        for name in style.order(by_name):
            own = by_name[name]
            seeds = len(own.rows)
            cells = [Cell(estimate(tables, own, c.name), name in winners[c.name], seeds) for c in metrics]
            identity = [Cell(own.dataset), Cell(own.model), Cell(name), Cell(seeds)]
            block.append([*identity, *cells, *(cell(own) for _, cell in extra)])
            keys += own.keys
        blocks.append(block)
    if all(cell.value is None for block in blocks for row in block for cell in row[len(IDENTITY) :]):
        raise Missing(f"no finished trial has any of {', '.join(column.name for column in metrics)}")
    words = f"Split: {tables.split}. Mean ± half of the 95 % t interval over seeds{note}."
    return Sheet(columns, blocks, words, keys)
