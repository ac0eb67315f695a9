"""The trials as the page holds them: at most `MOST` one by one, the others counted in cells."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.errors import Missing
from analysis.queries import Row, Tables, hyperparameters
from analysis.results import POLICIES, metadata
from analysis.statistics import pareto_front

MOST = 1000
"""Trials that the page holds one by one: with paths, members and reliability they take half a kilobyte each."""
CELLS = 40
"""Cells of each axis in which the others are counted."""
IDENTITY = ("key", "role", "dataset", "model", "construction", "seed", "sweep")


def shown(tables: Tables) -> list[Row]:
    """The rows held one by one: the validation fronts, all that is no search, and of the rest every n-th by key."""
    rows = [row for row in tables.rows if score(row, tables.split, "q_bar") is not None]
    if len(rows) <= MOST:
        return rows
    chosen = {row["key"] for setting in tables.settings for row in _front(rows, setting)}
    for candidates in ([r for r in rows if r["role"] != "search"], rows):
        rest = [row["key"] for row in candidates if row["key"] not in chosen]
        room = MOST - len(chosen)
        chosen |= set(rest if len(rest) <= room else [rest[i * len(rest) // room] for i in range(room)])
    return [row for row in rows if row["key"] in chosen]


def _front(rows: Sequence[Row], setting: tuple[str, str]) -> list[Row]:
    able = [row for row in rows if (row["dataset"], row["model"]) == setting and row["construction"] != "deep"]
    points = [(row, score(row, "val", "q_bar"), score(row, "val", "accuracy")) for row in able]
    whole = [(row, q, accuracy) for row, q, accuracy in points if q is not None and accuracy is not None]
    return [whole[i][0] for i in pareto_front([(q, accuracy) for _, q, accuracy in whole])]


def score(row: Row, split: str, metric: str) -> float | None:
    """A metric of a row on a split, connectivity under the headline policy it has."""
    names = (f"{split}_{metric}", *(f"{split}_{metric}_{policy}" for policy in POLICIES))
    return next((row[name] for name in names if row.get(name) is not None), None)


def counted(tables: Tables, left_out: Sequence[Row]) -> list[dict[str, Any]]:
    """Cells of connectivity and accuracy with the number of trials in each, per (dataset, model) and construction."""
    cells: Counter[tuple[str, str, int, int]] = Counter()
    scored = [(row, score(row, tables.split, "q_bar"), score(row, tables.split, "accuracy")) for row in left_out]
    points = [(row, (_bend(q), accuracy)) for row, q, accuracy in scored if q is not None and accuracy is not None]
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
        | {"x": _round(_straight(left + wide * x)), "x2": _round(_straight(left + wide * (x + 1)))}
        | {"y": _round(bottom + high * y), "y2": _round(bottom + high * (y + 1))}
        for (setting, construction, x, y), count in sorted(cells.items())
    ]


def _bend(value: float) -> float:
    """The symmetric logarithm of the page's axis, sign(q) log(1 + |q|)."""
    return math.copysign(math.log1p(abs(value)), value)


def _straight(value: float) -> float:
    return math.copysign(math.expm1(abs(value)), value)


def columns(tables: Tables, rows: Sequence[Row]) -> dict[str, Any]:
    """The rows by column, numbers with five digits; what is the same in all of them is said once."""
    names = [*IDENTITY, *hyperparameters(tables.trials.schema)]
    names += [name for name in tables.trials.schema.names if name.startswith((f"{tables.split}_", "val_"))]
    names += ["passes", "teacher_passes", "seconds", "stage_seconds", "commit", "device", "status"]
    varied: dict[str, list[Any]] = {}
    same: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        values = [_round(row.get(name)) for row in rows]
        if name in IDENTITY or len(set(values)) > 1:
            varied[name] = values
        elif values and values[0] is not None:
            same[name] = values[0]
    varied["q"] = [_round(score(row, tables.split, "q_bar")) for row in rows]
    varied["val_q"] = [_round(score(row, "val", "q_bar")) for row in rows]
    schema = tables.trials.schema
    known = [name for name in (*varied, *same) if name in schema.names]
    facts = {name: [metadata(schema, name, "unit"), metadata(schema, name, "doc")] for name in known}
    return {"varied": varied, "same": same, "facts": facts, "searched": _searched(tables, varied)}


def _searched(tables: Tables, varied: dict[str, list[Any]]) -> list[str]:
    names = [name for name in hyperparameters(tables.trials.schema) if name in varied]
    return [name for name in names if len(set(varied[name]) - {None}) > 1]


def details(tables: Tables, keys: Sequence[str]) -> dict[str, Any]:
    """What a click opens: members, paths (mean and worst over pairs, by policy), reliability; by key."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, collect in (("members", _members), ("paths", _paths), ("reliability", _reliability)):
        try:
            table = tables.load(name, keys)
        except Missing:
            continue
        for key, value in collect(table.to_pydict(), tables.split).items():
            found[key][name] = value
    return dict(found)


def _members(columns: dict[str, list[Any]], split: str) -> dict[str, Any]:
    found: dict[str, Any] = defaultdict(list)
    for key, *values in zip(columns["key"], columns[f"{split}_accuracy"], columns[f"{split}_nll"], strict=True):
        found[key].append([_round(value) for value in values])
    return found


def _paths(columns: dict[str, list[Any]], split: str) -> dict[str, Any]:
    groups: dict[str, dict[str, dict[float, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    names = ("key", "split", "policy", "alpha", "accuracy")
    for key, of, policy, alpha, accuracy in zip(*(columns[name] for name in names), strict=True):
        if of == split and accuracy is not None:
            groups[key][policy][alpha].append(accuracy)
    return {
        key: {p: [[_round(a), _round(np.mean(v)), _round(min(v))] for a, v in sorted(g.items())] for p, g in by.items()}
        for key, by in groups.items()
    }


def _reliability(columns: dict[str, list[Any]], split: str) -> dict[str, Any]:
    found: dict[str, Any] = defaultdict(list)
    names = ("key", "split", "binning", "count", "confidence", "accuracy")
    for key, of, binning, count, *values in zip(*(columns[name] for name in names), strict=True):
        if of == split and binning == "width" and count:
            found[key].append([count, *(_round(value) for value in values)])
    return found


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str, bool)) else str(value)
