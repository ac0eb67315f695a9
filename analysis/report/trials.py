"""Trials in the page: at most `MOST` individually, the others as counts per cell."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.answers.verdicts import NOT_MEASURED, find_verdict, margin_of, verdict_word
from analysis.constructions import REFERENCE
from analysis.data.columns import column_metadata, is_score
from analysis.data.queries import (
    Configuration,
    Row,
    Tables,
    best_by_construction,
    front_configurations,
    hyperparameter_names,
    mean_metric,
)
from analysis.errors import Missing
from basin.files import read_object
from stats.outliers import far_fence
from stats.pareto import staircase
from stats.verdicts import answer

MOST = 1000
"""Maximum number of individual trials in the page; each takes half a kilobyte with its details."""
CELLS = 40
"""Number of cells along each axis in which the other trials are counted."""
WIDE_RATIO = 30
"""Ratio of largest to smallest value from which on an axis is logarithmic."""
COST_COLUMNS = (
    *("passes", "member_epochs", "image_passes", "teacher_passes", "teacher_forwards", "stage_passes"),
    *("seconds", "stage_seconds"),
)
IDENTITY_COLUMNS = ("key", "role", "dataset", "model", "construction", "seed", "sweep")


def shown_rows(tables: Tables) -> list[Row]:
    """Choose the individual rows: the validation fronts, all roles but search, and every n-th of the rest by key."""
    rows = [row for row in tables.rows if headline_score(tables, row, "q_bar") is not None]
    if len(rows) <= MOST:
        return rows
    kept = {row["key"] for row in rows}
    chosen = _front_keys(tables) & kept
    for wanted in ([r for r in rows if r["role"] != "search"], rows):
        rest = [row["key"] for row in wanted if row["key"] not in chosen]
        room = MOST - len(chosen)
        chosen |= set(rest if len(rest) <= room else [rest[i * len(rest) // room] for i in range(room)])
    return [row for row in rows if row["key"] in chosen]


def _front_keys(tables: Tables) -> set[str]:
    """Return the keys of all trials on the validation fronts of accuracy."""
    keys: set[str] = set()
    for by_metric in validation_fronts(tables).values():
        for point in by_metric["accuracy"]:
            keys |= set(point["keys"])
    return keys


def validation_fronts(tables: Tables) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the validation fronts of accuracy and of NLL per (dataset, model), each from small to large q̄.

    A point is a configuration: the keys of its trials, its construction, its mean q̄ (`x`) and mean score (`y`) on the
    reported split, and whether no other point of the front dominates it there (`step`).
    """
    by_setting: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for setting in tables.settings:
        by_setting[" · ".join(setting)] = {
            metric: _front_points(tables, front_configurations(tables, setting, metric), metric)
            for metric in ("accuracy", "nll")
        }
    return by_setting


def _front_points(tables: Tables, front: Sequence[Configuration], metric: str) -> list[dict[str, Any]]:
    scores = [(mean_metric(tables, c, "q_bar"), mean_metric(tables, c, metric)) for c in front]
    sign = -1.0 if metric == "nll" else 1.0
    known = [i for i, pair in enumerate(scores) if None not in pair]
    steps = [known[i] for i in staircase([(scores[i][0] or 0.0, sign * (scores[i][1] or 0.0)) for i in known])]
    return [
        {"keys": one.keys, "construction": one.construction, "x": _five_digits(x), "y": _five_digits(y)}
        | {"step": index in steps}
        for index, (one, (x, y)) in enumerate(zip(front, scores, strict=True))
    ]


def chosen_configurations(tables: Tables) -> dict[str, dict[str, Any]]:
    """Return the configuration of each construction that the report is about, per (dataset, model).

    `keys` are its trials, `verdict` its verdict over all its seeds by accuracy on the reported split.
    """
    return {
        " · ".join(setting): {
            name: {"keys": one.keys, "verdict": verdict_word(find_verdict(tables, one))}
            for name, one in by_name.items()
        }
        for setting, by_name in best_by_construction(tables).items()
    }


def headline_score(tables: Tables, row: Row, metric: str) -> float | None:
    """Return a metric of a row on the reported split, connectivity under the headline policy that the row has."""
    start = f"{tables.split}_{metric}"
    names = (start, *(f"{start}_{policy}" for policy in tables.policies))
    return next((row[name] for name in names if row.get(name) is not None), None)


def counted_cells(tables: Tables, left_out: Sequence[Row]) -> list[dict[str, Any]]:
    """Count trials in cells of connectivity and accuracy, per (dataset, model) and construction."""
    cells: Counter[tuple[str, str, int, int]] = Counter()
    scored = [(row, headline_score(tables, row, "q_bar"), headline_score(tables, row, "accuracy")) for row in left_out]
    points = [(row, (_to_axis(q), accuracy)) for row, q, accuracy in scored if q is not None and accuracy is not None]
    if not points:
        return []
    by_axis = zip(*(at for _, at in points), strict=True)
    sides = [(min(values), (max(values) - min(values)) / CELLS or 1.0) for values in by_axis]
    for row, at in points:
        x, y = (min(int((value - low) / width), CELLS - 1) for value, (low, width) in zip(at, sides, strict=True))
        cells[f"{row['dataset']} · {row['model']}", row["construction"], x, y] += 1
    (left, wide), (bottom, high) = sides
    return [
        {"setting": setting, "construction": construction, "count": count}
        | {"x": _five_digits(_from_axis(left + wide * x)), "x2": _five_digits(_from_axis(left + wide * (x + 1)))}
        | {"y": _five_digits(bottom + high * y), "y2": _five_digits(bottom + high * (y + 1))}
        for (setting, construction, x, y), count in sorted(cells.items())
    ]


def _to_axis(value: float) -> float:
    """Return the symmetric logarithm of the page's axis, sign(q) log(1 + |q|)."""
    return math.copysign(math.log1p(abs(value)), value)


def _from_axis(value: float) -> float:
    return math.copysign(math.expm1(abs(value)), value)


def trial_columns(tables: Tables, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows by column, numbers with five digits; columns with a single value are stored once."""
    names = [*IDENTITY_COLUMNS, *hyperparameter_names(tables.trials.schema)]
    names += [name for name in tables.trials.schema.names if name.startswith((f"{tables.split}_", "val_"))]
    names += [*COST_COLUMNS, "ensemble_key", "commit", "device", "host", "finished_at", "status"]
    varied: dict[str, list[Any]] = {}
    same: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        values = [_five_digits(row.get(name)) for row in rows]
        if name in IDENTITY_COLUMNS or len(set(values)) > 1:
            varied[name] = values
        elif values and values[0] is not None:
            same[name] = values[0]
    varied["basin"] = [_seed_verdict(tables, row) for row in rows]
    varied["q"] = [_five_digits(headline_score(tables, row, "q_bar")) for row in rows]
    varied["weights"] = [_weights_file(tables, row) for row in rows]
    return {"varied": varied, "same": same, "searched": _searched_names(tables, varied)}


def column_facts(tables: Tables, columns: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the page must know of each column, given as by `trial_columns`.

    `kind` is score, hyperparameter, cost or empty; `better` 1 if more is better, −1 if less is, else 0; `scale` that of
    an axis. Empty facts are left out.
    """
    schema, hyperparameters = tables.trials.schema, hyperparameter_names(tables.trials.schema)
    facts = {}
    for name, values in [*columns["varied"].items(), *((name, [value]) for name, value in columns["same"].items())]:
        said = {what: column_metadata(schema, name, what) for what in ("unit", "doc", "section")}
        kind = "hyperparameter" if name in hyperparameters else "cost" if name in COST_COLUMNS else ""
        if is_score(schema, name) and not kind:
            kind = "score"
        number = is_number(values)
        better = _direction(column_metadata(schema, name, "better"), name)
        scale = _axis_scale(values) if number and kind != "score" else ""
        facts[name] = said | {"kind": kind, "number": number, "better": better, "scale": scale}
    unit = "accuracy points"
    facts["q"] = {"kind": "score", "number": True, "better": 1, "scale": "symlog", "unit": unit, "heading": "q̄"}
    facts["basin"] = {"heading": "one basin (this seed)"}
    return {name: {what: value for what, value in fact.items() if value} for name, fact in facts.items()}


def is_number(values: Iterable[Any]) -> bool:
    """Tell whether all values that are known are numbers."""
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values)


def _direction(better: str, name: str) -> int:
    """Return the direction of a score; files of earlier versions do not record it."""
    if not better:
        metric = name.partition("_")[2]
        return 1 if metric.endswith("accuracy") else -1 if metric.endswith("nll") else 0
    return {"higher": 1, "lower": -1}.get(better, 0)


def _axis_scale(values: Sequence[Any]) -> str:
    """Return `log` for positive numbers over more than a factor of thirty, else an empty text."""
    known = [value for value in values if value is not None]
    return "log" if known and min(known) > 0 and max(known) / min(known) > WIDE_RATIO else ""


def column_fences(tables: Tables, rows: Sequence[Row], facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the values beyond which a score is an outlier on its worse side, per (dataset, model) and column."""
    fences: dict[str, dict[str, float]] = {}
    for setting in tables.settings:
        inside = [row for row in rows if (row["dataset"], row["model"]) == setting]
        for name, fact in facts.items():
            sign = fact.get("better", 0) if fact.get("kind") == "score" and name != "q" else 0
            values = [sign * row[name] for row in inside if sign and row.get(name) is not None]
            if values:
                fence = sign * far_fence(values, least=0.01 * abs(float(np.median(values))))
                fences.setdefault(" · ".join(setting), {})[name] = _five_digits(fence)
    return fences


def reference_levels(tables: Tables, facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the mean scores of the deep ensemble of the compared recipe, per (dataset, model)."""
    levels: dict[str, dict[str, float]] = {}
    for setting, by_name in best_by_construction(tables).items():
        for name, fact in facts.items():
            values = by_name[REFERENCE].by_seed(name) if REFERENCE in by_name and fact.get("kind") == "score" else {}
            if values:
                levels.setdefault(" · ".join(setting), {})[name] = _five_digits(sum(values.values()) / len(values))
    return levels


def sweep_defaults(tables: Tables) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the usual values of settings per sweep and construction, from the manifests.

    Under the empty name are those of the sweep's base trial.
    """
    defaults: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in (tables.folder, *tables.more):
        manifest = read_object(folder / "sweep.json")
        by_name = {"": dict(manifest.get("base", {}))}
        for name, value in manifest.get("defaults", {}).items():
            construction, _, field = name.partition(".")
            by_name.setdefault(construction, {})[field] = value
        defaults[folder.resolve().name] = by_name
    return defaults


def _weights_file(tables: Tables, row: Row) -> str | None:
    """Return the file of a trial's networks, if its folder has it."""
    files = [folder / "weights" / f"{row.get('ensemble_key')}.safetensors" for folder in (tables.folder, *tables.more)]
    return next((str(file) for file in files if file.exists()), None)


def _seed_verdict(tables: Tables, row: Row) -> str:
    """Return the verdict of one seed, by accuracy on the reported split."""
    upper, lower = (headline_score(tables, row, name) for name in ("basin_upper", "basin_lower"))
    margin = margin_of(tables, [row], "accuracy")
    return NOT_MEASURED if upper is None or lower is None or margin is None else answer(upper, lower, margin)


def _searched_names(tables: Tables, varied: dict[str, list[Any]]) -> list[str]:
    names = [name for name in hyperparameter_names(tables.trials.schema) if name in varied]
    return [name for name in names if len(set(varied[name]) - {None}) > 1]


def trial_details(tables: Tables, keys: Sequence[str]) -> dict[str, Any]:
    """Return each trial's details by key: members, paths (mean and worst over pairs, by policy), reliability."""
    by_key: dict[str, dict[str, Any]] = defaultdict(dict)
    scores = ["key", f"{tables.split}_accuracy", f"{tables.split}_nll"]
    for name, columns, collect in (
        ("members", scores, _member_details),
        ("paths", ["key", "split", "policy", "alpha", "accuracy"], _path_details),
        ("reliability", ["key", "split", "binning", "count", "confidence", "accuracy"], _reliability_details),
    ):
        try:
            table = tables.load(name, keys, columns)
        except Missing:
            continue
        for key, value in collect(table, tables.split).items():
            by_key[key][name] = value
    return dict(by_key)


def _member_details(table: pa.Table, split: str) -> dict[str, Any]:
    by_key: dict[str, Any] = defaultdict(list)
    columns = table.to_pydict()
    for key, *values in zip(columns["key"], columns[f"{split}_accuracy"], columns[f"{split}_nll"], strict=True):
        by_key[key].append([_five_digits(value) for value in values])
    return by_key


def _path_details(table: pa.Table, split: str) -> dict[str, Any]:
    """Return α, mean and worst accuracy over pairs, by key and policy."""
    known = pc.and_(pc.equal(table["split"], split), pc.is_valid(table["accuracy"]))
    table = table.filter(known)
    if not table.num_rows:
        return {}
    (keys, key), (policies, policy) = _encoded(table["key"]), _encoded(table["policy"])
    alpha, accuracy = (table[name].to_numpy() for name in ("alpha", "accuracy"))
    order = np.lexsort((alpha, policy, key))
    key, policy, alpha, accuracy = (values[order] for values in (key, policy, alpha, accuracy))
    changes = (np.diff(key) != 0) | (np.diff(policy) != 0) | (np.diff(alpha) != 0)
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    sizes = np.diff(starts, append=len(order))
    means, worst = np.add.reduceat(accuracy, starts) / sizes, np.minimum.reduceat(accuracy, starts)
    details: dict[str, Any] = defaultdict(lambda: defaultdict(list))
    points = zip(
        *(values.tolist() for values in (key[starts], policy[starts], alpha[starts], means, worst)), strict=True
    )
    for of, by, *point in points:
        details[keys[of]][policies[by]].append([_five_digits(value) for value in point])
    return details


def _encoded(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a column in the order in which they appear, and the index of each row's."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _reliability_details(table: pa.Table, split: str) -> dict[str, Any]:
    by_key: dict[str, Any] = defaultdict(list)
    shown = table.filter(pc.and_(pc.equal(table["split"], split), pc.equal(table["binning"], "width"))).to_pydict()
    names = ("key", "count", "confidence", "accuracy")
    for key, count, *values in zip(*(shown[name] for name in names), strict=True):
        if count:
            by_key[key].append([count, *(_five_digits(value) for value in values)])
    return by_key


def round_digits(value: Any, digits: int) -> Any:
    """Return a number with so many significant digits (None if not finite); other values as they are or as text."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str, bool)) else str(value)


def _five_digits(value: Any) -> Any:
    return round_digits(value, 5)
