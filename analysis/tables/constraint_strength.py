"""How strong a constraint should be, for every time parameter (Table of β in Lion et al. 2024)."""

from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, connected, estimate, families, grid
from analysis.sheet import Cell, Column, Sheet

TITLE = "Constraint strength and time parameter"
WHAT = (
    "Branches of one trunk by constraint strength β and time parameter t, everything else equal: mean ± half of the "
    "95 % t interval over seeds. Bold: the best mean of connected configurations at each t."
)
NEEDS = "python launch.py sweep constraint"

METRICS = [
    Column("accuracy", "accuracy (%)", r"accuracy (\%)"),
    Column("member_mean_accuracy", "mean member (%)", r"mean member (\%)"),
    Column("nll", "NLL (nats)", "NLL (nats)", digits=3),
    Column("q_bar", "q̄ (points)", r"$\bar q$ (points)"),
]
STRENGTHS = 3
"""Constraint strengths that a time parameter has at least to be in the table."""


def build(tables: Tables) -> Sheet:
    """A block a (dataset, model) and t, a row a β."""
    names = [("dataset", "dataset", "dataset"), ("model", "model", "model"), ("t", "t", "$t$"), ("β", "β", r"$\beta$")]
    columns = [*(Column(*name) for name in names), Column("seeds", "seeds", "seeds"), *METRICS]
    blocks, keys = [], []
    for setting, family in families(tables, "constrained", ["t", "beta"]).items():
        cells = grid(family, "t", "beta", STRENGTHS)
        for t in sorted({t for t, _ in cells}):
            rows = {beta: configuration for (other, beta), configuration in cells.items() if other == t}
            blocks.append(_block(tables, setting, t, rows))
            keys += [key for configuration in rows.values() for key in configuration.keys]
    if not blocks:
        raise Missing(f"no time parameter has {STRENGTHS} constraint strengths")
    note = f"Split: {tables.split}. Mean ± half of the 95 % t interval over seeds; bold: best mean of the connected."
    return Sheet(columns, blocks, note, keys)


def times(tables: Tables, setting: Setting) -> list[float]:
    """The time parameters that the table has for a (dataset, model); none without data."""
    try:
        family = families(tables, "constrained", ["t", "beta"]).get(setting, [])
    except Missing:
        return []
    return sorted({t for t, _ in grid(family, "t", "beta", STRENGTHS)})


def _block(tables: Tables, setting: Setting, t: float, rows: dict[float, Configuration]) -> list[list[Cell]]:
    accuracies = {beta: estimate(tables, c, "accuracy") for beta, c in rows.items() if connected(tables, c)}
    means = {beta: found.mean for beta, found in accuracies.items() if found}
    best = max(means.values(), default=None)
    block = []
    for beta, configuration in rows.items():
        seeds = len(configuration.rows)
        found = [Cell(estimate(tables, configuration, c.name), of=seeds) for c in METRICS]
        if best is not None and means.get(beta) == best:
            found[0] = Cell(found[0].value, bold=True, of=seeds)
        block.append([Cell(setting[0]), Cell(setting[1]), Cell(f"{t:g}"), Cell(f"{beta:g}"), Cell(seeds), *found])
    return block
