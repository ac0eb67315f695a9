"""Number of seeds and images that would show a difference of two configurations, from the seeds that there are."""

import numpy as np

from analysis.answers.differences import paired_samples
from analysis.constructions import REFERENCE, label, order
from analysis.data.queries import Configuration, Tables, best_by_construction
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet
from stats.power import Components, estimate_components, images_needed, judge_design, seeds_needed

UNITS = {"accuracy": ("points", 2), "nll": ("nats", 3)}
"""Metric → its unit and digits."""
SEEDS = (2, 3, 5, 10, 20)
IMAGES = (1, 4)
"""Multiples of the test images that the table shows."""


def seeds_to_show(tables: Tables, x: Configuration, y: Configuration, metric: str, difference: float) -> str | None:
    """Return the number of seeds that would show a difference with 80 % power, or of images where no number would.

    Variances are those of the seeds in common; None with fewer than two of them.
    """
    values = paired_samples(tables, [x, y], [metric] * 2)
    return None if values is None else needed_words(values[0] - values[1], difference)


def needed_words(gaps: np.ndarray, difference: float) -> str | None:
    """Return the number of seeds, or else of images, that would show a difference, from gaps [seeds, images]."""
    components = estimate_components(gaps)
    if components is None:
        return None
    seeds, images = gaps.shape
    if needed := seeds_needed(components, difference, images):
        return f"{needed:,}"
    more = images_needed(components, difference, seeds)
    return f"{more:,} images" if more else "more images than can be had"


def _percent(power: float) -> str:
    """Format a power; none is 100 %."""
    return "> 99 %" if power > 0.99 else f"{100 * power:.0f} %"


def power_table(tables: Tables, difference: float, metric: str = "accuracy") -> Sheet:
    """Build a table of seeds × images for each construction against the deep ensemble: half width and power.

    Raises Missing if no construction shares two seeds with a deep ensemble.
    """
    names = ("dataset", "model", "comparison", "seeds", "images", "half width", "power", "seeds needed")
    columns = [Column(name, name, name) for name in names]
    blocks, keys = [], []
    for (dataset, model), by_name in best_by_construction(tables).items():
        deep = by_name.get(REFERENCE)
        if deep is None:
            continue
        for name in order(by_name.keys() - {REFERENCE}):
            values = paired_samples(tables, [by_name[name], deep], [metric] * 2)
            components = None if values is None else estimate_components(values[0] - values[1])
            if values is None or components is None:
                continue
            pilot = values[0].shape[1]
            start = [Cell(dataset), Cell(model), Cell(f"{label(name)} − deep")]
            counts = [pilot * more for more in IMAGES] if pilot > 1 else [1]
            blocks.append([[*start, *row] for row in _design_rows(components, difference, counts, UNITS[metric][1])])
            keys += [*by_name[name].keys, *deep.keys]
    if not blocks:
        raise Missing("no construction shares two seeds with a deep ensemble of its recipe")
    note = (
        f"A true difference of {difference:g} {UNITS[metric][0]}: half width of the 95 % interval to expect, and the "
        "probability that it excludes 0. Variances are those of the seeds there are. images = 1: over seeds alone. "
        "seeds needed: for 80 % power."
    )
    return Sheet(columns, blocks, note, keys)


def _design_rows(components: Components, difference: float, counts: list[int], digits: int) -> list[list[Cell]]:
    rows = []
    for images in counts:
        needed = seeds_needed(components, difference, images)
        for seeds in SEEDS:
            design = judge_design(components, difference, seeds, images)
            numbers = [Cell(f"{seeds}"), Cell(f"{images:,}"), Cell(f"{design.half:.{digits}f}")]
            rows.append([*numbers, Cell(_percent(design.power)), Cell(f"{needed:,}" if needed else "images")])
    return rows
