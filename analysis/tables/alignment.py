"""What permutations of hidden units do for connectivity, by width, matching and BatchNorm policy."""

from analysis.errors import Missing
from analysis.queries import Configuration, Setting, Tables, configurations, recipe, shared_names
from analysis.results import metadata
from analysis.sheet import Cell, Column, Sheet
from analysis.statistics import mean_interval

TITLE = "Alignment"
WHAT = (
    "Connectivity q̄ and worst barrier of deep ensembles as they are and aligned by permutations of hidden units (Git "
    "Re-Basin, Ainsworth 2023), by width, method of matching and what was done about BatchNorm statistics of mixed "
    "networks (reset: re-estimated; interp: mixed; repair: Jordan 2023). The permuted networks compute what they did, "
    "so that only these numbers move. Mean ± half of the 95 % t interval over seeds."
)
NEEDS = "python launch.py sweep alignment"

MEASURES = [("q_bar", "q̄", r"$\bar q$"), ("barrier", "barrier", "barrier")]


def build(tables: Tables) -> Sheet:
    """A block a (dataset, model), a row a width and method."""
    groups: dict[Setting, list[Configuration]] = {}
    for found in configurations(tables):
        if found.construction in ("deep", "permuted"):
            groups.setdefault((found.dataset, found.model), []).append(found)
    chosen = {setting: _rows(group) for setting, group in sorted(groups.items())}
    chosen = {setting: rows for setting, rows in chosen.items() if any(c.construction == "permuted" for c in rows)}
    if not chosen:
        raise Missing("no finished permuted trial")
    columns = [Column(name, name, name) for name in ("dataset", "model", "width", "method", "seeds")]
    policies = _policies(tables, [c for rows in chosen.values() for c in rows])
    columns += [
        Column(f"{measure}_{policy}", f"{heading} {policy} (points)", f"{latex} {policy} (points)", digits=1)
        for policy in policies
        for measure, heading, latex in MEASURES
    ]
    blocks = [
        [_row(tables, setting, c, [column.name for column in columns[5:]]) for c in rows]
        for setting, rows in chosen.items()
    ]
    keys = [key for rows in chosen.values() for c in rows for key in c.keys]
    return Sheet(columns, blocks, f"Split: {tables.split}. Mean ± half of the 95 % t interval over seeds.", keys)


def _rows(group: list[Configuration]) -> list[Configuration]:
    """Those of the recipe (width apart) with most permuted ensembles; of equal rows the one with most seeds."""
    names = [name for name in shared_names(group) if name != "width"]
    recipes: dict[tuple[object, ...], list[Configuration]] = {}
    for configuration in group:
        recipes.setdefault(recipe(configuration, names), []).append(configuration)
    permuted = {key: sum(c.construction == "permuted" for c in found) for key, found in recipes.items()}
    best = recipes[max(permuted, key=lambda key: permuted[key])] if permuted else []
    rows: dict[tuple[float, str], Configuration] = {}
    for c in sorted(best, key=lambda c: len(c.rows)):
        rows[c.hyperparameters.get("width") or 0.0, _method(c)] = c
    return [rows[at] for at in sorted(rows)]


def _method(configuration: Configuration) -> str:
    if configuration.construction == "deep":
        return "as they are"
    names = [configuration.hyperparameters.get(name) for name in ("matching", "reference")]
    return ", ".join(str(name) for name in names if name is not None and name != "first")


def _policies(tables: Tables, chosen: list[Configuration]) -> list[str]:
    start = f"{tables.split}_q_bar_"
    there = [name for name in tables.trials.schema.names if name.startswith(start) and _scored(tables, name)]
    rows = [row for c in chosen for row in c.rows]
    return [name.removeprefix(start) for name in there if any(row.get(name) is not None for row in rows)]


def _scored(tables: Tables, name: str) -> bool:
    return metadata(tables.trials.schema, name, "kind") != "hyperparameter"


def _row(tables: Tables, setting: Setting, configuration: Configuration, names: list[str]) -> list[Cell]:
    width, seeds = configuration.hyperparameters.get("width"), len(configuration.rows)
    cells = [Cell(*setting[:1]), Cell(setting[1]), Cell("–" if width is None else f"{width:g}")]
    cells += [Cell(_method(configuration)), Cell(seeds)]
    values = [mean_interval(configuration.by_seed(f"{tables.split}_{name}").values()) for name in names]
    return [*cells, *(Cell(value, of=seeds) for value in values)]
