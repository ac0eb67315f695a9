"""Effect of permuting hidden units on connectivity, by width, matching and BatchNorm policy."""

from itertools import chain, product

from analysis.answers.construction_table import seeds_cell
from analysis.constructions import REFERENCE
from analysis.data.columns import is_score
from analysis.data.queries import (
    Configuration,
    Setting,
    Tables,
    configurations,
    estimate_metric,
    keys_of,
    recipe_values,
    shared_names,
)
from analysis.errors import Missing
from analysis.output.sheet import Cell, Column, Sheet

TITLE = "Alignment"
QUESTION = "Can permutations connect independent networks?"
WHAT = (
    "Connectivity q̄ and largest barrier of deep ensembles, as trained and after alignment by permutations of hidden "
    "units (Git Re-Basin, Ainsworth 2023), by width, matching method and BatchNorm policy of mixed networks (reset: "
    "re-estimated; interp: interpolated; repair: Jordan 2023). Permuted networks compute the same functions, so only "
    "these numbers change. Mean ± half of the 95 % interval over seeds, and over images for q̄ where they are stored."
)
NEEDS = "alignment"

MEASURES = [("q_bar", "q̄", r"$\bar q$"), ("barrier", "barrier", "barrier")]


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model), with one row per width and method."""
    groups: dict[Setting, list[Configuration]] = {}
    for configuration in configurations(tables):
        if configuration.construction in (REFERENCE, "permuted"):
            groups.setdefault(configuration.setting, []).append(configuration)
    chosen = {setting: _recipe_rows(group) for setting, group in sorted(groups.items())}
    chosen = {setting: rows for setting, rows in chosen.items() if "permuted" in {c.construction for c in rows}}
    if not chosen:
        raise Missing("no finished permuted trial")
    columns = [Column(name, name, name) for name in ("dataset", "model", "width", "method", "seeds")]
    policies = measured_policies(tables, list(chain.from_iterable(chosen.values())))
    columns += [
        Column(f"{measure}_{policy}", f"{heading} {policy} (points)", f"{latex} {policy} (points)", digits=1)
        for policy, (measure, heading, latex) in product(policies, MEASURES)
    ]
    blocks = [
        [_table_row(tables, setting, c, [column.name for column in columns[5:]]) for c in rows]
        for setting, rows in chosen.items()
    ]
    keys = keys_of(chain.from_iterable(chosen.values()))
    return Sheet(columns, blocks, f"Split: {tables.split}. Mean ± half of the 95 % interval.", keys)


def _recipe_rows(group: list[Configuration]) -> list[Configuration]:
    """Return the configurations of the recipe with most permuted ensembles, any width; of duplicates, most seeds."""
    names = [name for name in shared_names(group) if name != "width"]
    recipes: dict[tuple[object, ...], list[Configuration]] = {}
    for configuration in group:
        recipes.setdefault(recipe_values(configuration, names), []).append(configuration)
    permuted = {key: sum(c.construction == "permuted" for c in alike) for key, alike in recipes.items()}
    best = recipes[max(permuted, key=lambda key: permuted[key])] if permuted else []
    rows: dict[tuple[float, str], Configuration] = {}
    for c in sorted(best, key=lambda c: len(c.rows)):
        rows[c.hyperparameters.get("width") or 0.0, _matching_method(c)] = c
    return [rows[at] for at in sorted(rows)]


def _matching_method(configuration: Configuration) -> str:
    if configuration.construction == REFERENCE:
        return "as they are"
    names = [configuration.hyperparameters.get(name) for name in ("matching", "reference")]
    return ", ".join(str(name) for name in names if name is not None and name != "first")


def measured_policies(tables: Tables, chosen: list[Configuration]) -> list[str]:
    """Return the BatchNorm policies under which some of these configurations have paths."""
    start = f"{tables.split}_q_bar_"
    schema = tables.trials.schema
    columns = [name for name in schema.names if name.startswith(start) and is_score(schema, name)]
    measured = [name for name in columns if any(c.by_seed(name) for c in chosen)]
    return [name.removeprefix(start) for name in measured]


def _table_row(tables: Tables, setting: Setting, configuration: Configuration, names: list[str]) -> list[Cell]:
    width, seeds = configuration.hyperparameters.get("width"), len(configuration.rows)
    cells = [Cell(*setting[:1]), Cell(setting[1]), Cell("–" if width is None else f"{width:g}")]
    cells += [Cell(_matching_method(configuration)), seeds_cell(configuration)]
    values = [estimate_metric(tables, configuration, name) for name in names]
    return [*cells, *(Cell(value, of=seeds) for value in values)]
