"""Distillation temperature τ against the weight λ of the teacher."""

from analysis.errors import Missing
from analysis.queries import Tables, connected, estimate, families, grid
from analysis.sheet import Cell, Column, Sheet

TITLE = "Distillation temperature and weight"
WHAT = (
    "Distilled ensembles that differ in the temperature τ and the teacher's weight λ alone: accuracy of the ensemble, "
    "mean ± half of the 95 % t interval over seeds, a row a τ, a column a λ. Bold: the best mean among connected "
    "configurations (worst validation barrier of every seed below 2 points)."
)
NEEDS = "python launch.py sweep temperature"


def build(tables: Tables) -> Sheet:
    """A block a (dataset, model)."""
    found = {
        setting: cells
        for setting, family in families(tables, "distilled", ["temperature", "weight"]).items()
        if (cells := grid(family, "temperature", "weight"))
    }
    if not found:
        raise Missing("no grid of distillation temperature and weight")
    weights = sorted({weight for cells in found.values() for _, weight in cells})
    names = [("dataset", "dataset"), ("model", "model"), ("τ", r"$\tau$")]
    columns = [Column(heading, heading, latex) for heading, latex in names]
    columns += [Column(f"weight_{w:g}", f"λ = {w:g}", rf"$\lambda = {w:g}$") for w in weights]
    blocks, keys = [], []
    for setting, cells in found.items():
        shown = {at: estimate(tables, configuration, "accuracy") for at, configuration in cells.items()}
        rivals = {at: shown[at].mean for at, c in cells.items() if shown[at] and connected(tables, c)}
        best = max(rivals.values(), default=None)
        block = []
        for temperature in sorted({t for t, _ in cells}):
            own = [(temperature, weight) for weight in weights]
            row = [Cell(shown.get(at), best is not None and rivals.get(at) == best) for at in own]
            block.append([Cell(setting[0]), Cell(setting[1]), Cell(f"{temperature:g}"), *row])
        blocks.append(block)
        keys += [key for configuration in cells.values() for key in configuration.keys]
    note = f"Accuracy (%), split: {tables.split}. Mean ± half of the 95 % t interval over seeds."
    return Sheet(columns, blocks, note, keys)
