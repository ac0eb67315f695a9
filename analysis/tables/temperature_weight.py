"""Distillation temperature τ against the weight λ of the teacher."""

from itertools import chain

from analysis.answers.verdicts import in_one_basin
from analysis.data.queries import Tables, configuration_families, estimate_metric, grid_cells, keys_of
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet

TITLE = "Distillation temperature and weight"
QUESTION = "Does distillation give it back?"
WHAT = (
    "Distilled ensembles that differ only in the temperature τ and the teacher's weight λ: accuracy of the ensemble, "
    "mean ± half of the 95 % interval over seeds and images, with one row per τ and one column per λ. Bold: the best "
    "mean among configurations in one basin by accuracy."
)
NEEDS = "temperature"


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model)."""
    grids = {
        setting: cells
        for setting, family in configuration_families(tables, "distilled", ["temperature", "weight"]).items()
        if (cells := grid_cells(family, "temperature", "weight"))
    }
    if not grids:
        raise Missing("no grid of distillation temperature and weight")
    weights = sorted({weight for _, weight in chain.from_iterable(grids.values())})
    names = [("dataset", "dataset"), ("model", "model"), ("τ", r"$\tau$")]
    columns = [Column(heading, heading, latex) for heading, latex in names]
    columns += [Column(f"weight_{w:g}", f"λ = {w:g}", rf"$\lambda = {w:g}$") for w in weights]
    blocks, keys = [], []
    for setting, cells in grids.items():
        shown = {at: estimate_metric(tables, configuration, "accuracy") for at, configuration in cells.items()}
        rivals = {at: grids.mean for at, grids in shown.items() if grids and in_one_basin(tables, cells[at])}
        best = max(rivals.values(), default=None)
        block = []
        for temperature in sorted({t for t, _ in cells}):
            cells_of_row = [(temperature, weight) for weight in weights]
            row = [Cell(shown.get(at), best is not None and rivals.get(at) == best) for at in cells_of_row]
            block.append([Cell(setting[0]), Cell(setting[1]), Cell(f"{temperature:g}"), *row])
        blocks.append(block)
        keys += keys_of(cells.values())
    note = f"Accuracy (%), split: {tables.split}. Mean ± half of the 95 % interval; bold: best of those in one basin."
    return Sheet(columns, blocks, note, keys)
