"""Planes in the page: grids of networks with their scores, rounded and bounded in number."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from analysis.answers.verdicts import in_one_basin
from analysis.constructions import REFERENCE, connected, facts, label, order
from analysis.data.planes import Plane, find_plane, planes_of
from analysis.data.queries import Configuration, Tables, best_by_construction
from analysis.report.trials import round_digits

MOST_SIDE = 41
"""Maximum number of networks along a side of a plane; of a larger grid the page has every n-th row and column."""
MOST_NETWORKS = 20_000
"""Maximum number of networks in all planes of the page, each of about 13 bytes. The first plane is always there."""
DIGITS = {"loss": 4, "accuracy": 5}
"""Significant digits: more than a test set of 50,000 images resolves."""


def valley_pair(tables: Tables, by_name: dict[str, Configuration]) -> list[str]:
    """Name the deep ensemble and the connected construction whose valleys are compared; empty if one has no plane."""
    known = [name for name, one in by_name.items() if find_plane(tables, one)]
    linked = [name for name in connected(known) if in_one_basin(tables, by_name[name])]
    if REFERENCE not in known or not linked:
        return []
    return [REFERENCE, min(linked, key=lambda name: facts(name).lead)]


def page_planes(tables: Tables) -> dict[str, Any]:
    """Return the planes of the compared configurations, and the one or two (`shown`) that the page opens with.

    The first seed's plane of each construction comes before those of other seeds, as many as `MOST_NETWORKS` allows;
    `left_out` counts the rest.
    """
    compared = best_by_construction(tables)
    found = [(one, plane) for by_name in compared.values() for one, plane in _ordered_planes(tables, by_name)]
    kept: list[dict[str, Any]] = []
    networks = 0
    for one, plane in sorted(found, key=lambda pair: pair[0].keys.index(pair[1].key)):
        entry = _plane_entry(one, plane)
        networks += len(entry["loss"])
        if kept and networks > MOST_NETWORKS:
            break
        kept.append(entry)
    pairs = {" · ".join(setting): valley_pair(tables, by_name) for setting, by_name in compared.items()}
    firsts: dict[tuple[str, str], int] = {}
    for at, entry in enumerate(kept):
        firsts.setdefault((entry["place"], entry["construction"]), at)
    valleys = [at for (place, name), at in firsts.items() if name in pairs[place]]
    shown = list(dict.fromkeys([*valleys, *firsts.values(), *range(len(kept))]))[:2]
    return {"planes": kept, "shown": shown, "left_out": len(found) - len(kept)}


def _ordered_planes(tables: Tables, by_name: dict[str, Configuration]) -> Iterator[tuple[Configuration, Plane]]:
    for name in order(by_name):
        for plane in planes_of(tables, by_name[name]):
            yield by_name[name], plane


def _plane_entry(configuration: Configuration, plane: Plane) -> dict[str, Any]:
    """Return a plane as numbers: rows of the grid one after the other (y, x), ends over all its networks."""
    every = -(-max(len(plane.x), len(plane.y)) // MOST_SIDE)
    seed = next(row["seed"] for row in configuration.rows if row["key"] == plane.key)
    entry: dict[str, Any] = {"place": " · ".join(configuration.setting), "construction": configuration.construction}
    entry |= {"label": label(configuration.construction), "seed": seed, "key": plane.key, "every": every, "ends": {}}
    entry |= {axis: _rounded(getattr(plane, axis)[::every], 5) for axis in "xy"}
    for score, digits in DIGITS.items():
        values = getattr(plane, score)
        entry[score] = _rounded(values[::every, ::every].ravel(), digits)
        finite = values[np.isfinite(values)]
        entry["ends"][score] = _rounded([finite.min(), finite.max()], digits) if finite.size else []
    return entry | {"vertices": _plane_vertices(configuration, plane)}


def _plane_vertices(configuration: Configuration, plane: Plane) -> list[dict[str, Any]]:
    """Return the members and, in the plane, what the construction has beside them; `off` is the distance from it."""
    members = configuration.hyperparameters.get("members", 0)
    named = []
    for vertex in plane.vertices:
        index, inside = vertex["vertex"], vertex["vertex"] in plane.anchors
        name = str(index) if index < members else facts(configuration.construction).counterpart.format(index - members)
        if index < members or (inside and index > members):
            place = {axis: round_digits(vertex[axis], 5) for axis in ("x", "y")}
            scores = {score: round_digits(vertex[score], digits) for score, digits in DIGITS.items()}
            off = 0 if inside else round_digits(vertex["residual"], 3)
            named.append({"name": name, "member": index < members, "off": off} | place | scores)
    return named


def _rounded(values: Sequence[float] | np.ndarray, digits: int) -> list[float | None]:
    return [round_digits(float(value), digits) for value in values]
