"""The main table: what each construction reaches, over seeds."""

from analysis import style
from analysis.errors import Missing
from analysis.queries import Configuration, Tables, best_by_construction, connected
from analysis.sheet import Cell, Column, Sheet
from analysis.statistics import Estimate, mean_interval

TITLE = "Constructions over seeds"
WHAT = (
    "Per dataset, model and construction, the configuration with the most seeds (ties: mean validation accuracy): "
    "mean ± half of the 95 % Student-t interval over seeds on the reported split. Bold: the best mean among connected "
    "configurations (worst validation barrier of every seed below 2 points); bold says nothing about significance."
)
NEEDS = "python launch.py sweep {sweep}"

METRICS = [
    Column("accuracy", "accuracy (%)", r"accuracy (\%)"),
    Column("member_mean_accuracy", "mean member (%)", r"mean member (\%)"),
    Column("nll", "NLL (nats)", "NLL (nats)", digits=3),
    Column("ece", "ECE (%)", r"ECE (\%)"),
    Column("q_bar", "q̄ (points)", r"$\bar q$ (points)"),
]
LARGER_IS_BETTER = {"accuracy": True, "member_mean_accuracy": True, "nll": False, "ece": False}
"""Where a best exists; q̄ says what a construction is, above 0 it is not better still."""


def build(tables: Tables) -> Sheet:
    """One block a (dataset, model), the deep ensemble first as the reference."""
    names = [("dataset", "dataset"), ("model", "model"), ("construction", "construction"), ("seeds", "seeds")]
    columns = [*(Column(name, heading, heading) for name, heading in names), *METRICS]
    best = best_by_construction(tables)
    blocks = [_block(tables, by_name) for by_name in best.values()]
    keys = [key for by_name in best.values() for name in style.order(by_name) for key in by_name[name].keys]
    note = f"Split: {tables.split}. Mean ± half of the 95 % t interval over seeds; bold: best mean of the connected."
    return Sheet(columns, blocks, note, keys)


def estimates(tables: Tables, configuration: Configuration) -> dict[str, Estimate | None]:
    """Mean and interval over seeds of every metric of the table; None where no trial has it."""
    found: dict[str, Estimate | None] = {}
    for column in METRICS:
        try:
            values = configuration.by_seed(tables.column(column.name, configuration.rows))
        except Missing:
            values = {}
        found[column.name] = mean_interval(values.values())
    return found


def _block(tables: Tables, by_name: dict[str, Configuration]) -> list[list[Cell]]:
    rows = {name: estimates(tables, by_name[name]) for name in style.order(by_name)}
    rivals = [name for name in rows if name != "deep" and connected(tables, by_name[name])]
    block = []
    for name, row in rows.items():
        configuration = by_name[name]
        cells = [Cell(configuration.dataset), Cell(configuration.model), Cell(name), Cell(len(configuration.rows))]
        seeds = len(configuration.rows)
        block.append(cells + [Cell(row[c.name], name in _winners(rows, rivals, c.name), seeds) for c in METRICS])
    return block


def _winners(rows: dict[str, dict[str, Estimate | None]], rivals: list[str], metric: str) -> list[str]:
    means = {name: estimate.mean for name in rivals if (estimate := rows[name][metric]) is not None}
    if metric not in LARGER_IS_BETTER or not means:
        return []
    best = (max if LARGER_IS_BETTER[metric] else min)(means.values())
    return [name for name, mean in means.items() if mean == best]
