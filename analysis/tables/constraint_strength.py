"""Constraint strength β by time parameter t (Table of β in Lion et al. 2024)."""

from analysis.answers.construction_table import seeds_cell
from analysis.answers.verdicts import find_verdict, in_one_basin, verdict_word
from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    configuration_families,
    estimate_metric,
    grid_cells,
    keys_of,
)
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet

TITLE = "Constraint strength and time parameter"
QUESTION = "What does connectivity cost?"
WHAT = (
    "Branches of one trunk that differ only in constraint strength β and time parameter t: mean ± half of the 95 % "
    "interval over seeds and images. One basin: the verdict by accuracy and by loss, for the average pair of these "
    "seeds. Bold: the best mean at each t among configurations in one basin by accuracy."
)
NEEDS = "constraint"

METRICS = [
    Column("accuracy", "accuracy (%)", r"accuracy (\%)"),
    Column("member_mean_accuracy", "mean member (%)", r"mean member (\%)"),
    Column("nll", "NLL (nats)", "NLL (nats)", digits=3),
    Column("q_bar", "q̄ (points)", r"$\bar q$ (points)"),
    Column("barrier", "barrier (points)", "barrier (points)"),
    Column("loss_barrier", "loss barrier (nats)", "loss barrier (nats)", digits=3),
]
JUDGED = [Column("one_basin", "one basin", "one basin"), Column("by_loss", "by loss", "by loss")]
STRENGTHS = 3
"""Minimum number of constraint strengths for a time parameter to be in the table."""


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model) and t, with one row per β."""
    names = [("dataset", "dataset", "dataset"), ("model", "model", "model"), ("t", "t", "$t$"), ("β", "β", r"$\beta$")]
    columns = [*(Column(*name) for name in names), Column("seeds", "seeds", "seeds"), *METRICS, *JUDGED]
    blocks, keys = [], []
    for setting, family in configuration_families(tables, "constrained", ["t", "beta"]).items():
        cells = grid_cells(family, "t", "beta", STRENGTHS)
        for t in sorted({t for t, _ in cells}):
            rows = {beta: configuration for (other, beta), configuration in cells.items() if other == t}
            blocks.append(_strength_block(tables, setting, t, rows))
            keys += keys_of(rows.values())
    if not blocks:
        raise Missing(f"no time parameter has {STRENGTHS} constraint strengths")
    note = f"Split: {tables.split}. Mean ± half of the 95 % interval; bold: best mean of those in one basin."
    return Sheet(columns, blocks, note, keys)


def table_times(tables: Tables, setting: Setting) -> list[float]:
    """Return the time parameters in the table of a (dataset, model); empty without data."""
    try:
        family = configuration_families(tables, "constrained", ["t", "beta"]).get(setting, [])
    except Missing:
        return []
    return sorted({t for t, _ in grid_cells(family, "t", "beta", STRENGTHS)})


def _strength_block(tables: Tables, setting: Setting, t: float, rows: dict[float, Configuration]) -> list[list[Cell]]:
    accuracies = {beta: estimate_metric(tables, c, "accuracy") for beta, c in rows.items() if in_one_basin(tables, c)}
    means = {beta: values.mean for beta, values in accuracies.items() if values}
    best = max(means.values(), default=None)
    block = []
    for beta, configuration in rows.items():
        seeds = len(configuration.rows)
        values = [Cell(estimate_metric(tables, configuration, c.name), of=seeds) for c in METRICS]
        if best is not None and means.get(beta) == best:
            values[0] = Cell(values[0].value, bold=True, of=seeds)
        values += [Cell(verdict_word(find_verdict(tables, configuration, by))) for by in ("accuracy", "loss")]
        identity = [Cell(setting[0]), Cell(setting[1]), Cell(f"{t:g}"), Cell(f"{beta:g}"), seeds_cell(configuration)]
        block.append([*identity, *values])
    return block
