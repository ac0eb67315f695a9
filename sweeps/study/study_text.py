"""Write a study as the text of a study file, which makes the same study."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from basin.spec import Value, changed_fields
from basin.trial import REGISTRIES, SECTIONS, Trial
from sweeps.study.domain import Domain
from sweeps.study.job import Changes
from sweeps.study.space import Space
from sweeps.study.study import AUTO, Study

Block = dict[str, list[Any]]
"""Values of each field of a block of the grid."""


def study_text(study: Study, summary: str, data: Path | None, plugins: Sequence[str] = ()) -> str:
    """Format a study as TOML. Fields at the defaults of the code are left out."""
    lines = [f"summary = {_format(summary)}"]
    lines += [f"import = {_format(plugins)}"] if plugins else []
    lines += [f"data = {_format(str(data))}"] if data else []
    lines += [f"{name} = {_format(value)}" for name, value in _settings(study).items()]
    lines += _table("base", _base_values(study.base) | ({"precision": AUTO} if study.auto_precision else {}))
    lines += _table("fixed", study.space.fixed)
    lines += _table("search", searched_values(study.space))
    for block in grid_blocks(study.grid):
        lines += _table("[grid]", {name: values if len(values) > 1 else values[0] for name, values in block.items()})
    return "\n".join(lines) + "\n"


def _settings(study: Study) -> dict[str, Any]:
    settings: dict[str, Any] = {"constructions": list(study.space.constructions)}
    if study.trials:
        settings |= {"trials": study.trials, "sampler": study.sampler, "replicates": study.replicates}
    if study.scheduler:
        settings["scheduler"] = study.scheduler
    return settings | {
        "metrics": list(study.objectives),
        "margin": study.margin,
        "constraints": [f"{limit.column} {limit.sense} {limit.bound!r}" for limit in study.constraints],
        "references": [_format_reference(changes) for changes in study.references],
        "seeds": study.seeds,
        "plane_points": study.plane_points,
    }


def _format_reference(changes: Changes) -> object:
    return changes["construction"] if list(changes) == ["construction"] else changes


def _base_values(base: Trial) -> dict[str, Value]:
    """Names of dataset, model and construction, and the fields that differ from their defaults."""
    values: dict[str, Value] = {kind: registry.name(getattr(base, kind)) for kind, registry in REGISTRIES.items()}
    for section in SECTIONS:
        values |= changed_fields(getattr(base, section))
    return values


def searched_values(space: Space) -> dict[str, object]:
    """Name → range as a text, or choices as a list."""
    drawn: dict[str, object] = {}
    for name in space.constructions:
        drawn |= {field.name: Domain.of(field).value for field in space.fields(name)}
    return {name: drawn[name] for name in space.searched if name in drawn}


def grid_blocks(grid: Sequence[Changes]) -> Iterator[Block]:
    """Split the points of a grid into blocks whose values are combined with each other, in the same order."""
    left = list(grid)
    while left:
        count = next(size for size in range(len(left), 0, -1) if _as_block(left[:size]))
        block = _as_block(left[:count])
        assert block is not None
        yield block
        left = left[count:]


def _as_block(points: Sequence[Changes]) -> Block | None:
    """The block that gives these points in this order; None if there is none."""
    if any(point.keys() != points[0].keys() for point in points):
        return None
    slowest_first = sorted(points[0], key=lambda name: _count_changes(points, name))
    block = {name: list(dict.fromkeys(point[name] for point in points)) for name in slowest_first}
    given = [dict(zip(block, values, strict=True)) for values in product(*block.values())]
    return block if given == [dict(point) for point in points] else None


def _count_changes(points: Sequence[Changes], name: str) -> int:
    """How often a value changes from one point to the next."""
    return sum(one[name] != after[name] for one, after in pairwise(points))


def _table(name: str, values: Mapping[str, object]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_format(value)}" for key, value in values.items())] if values else []


def _format(value: object) -> str:
    """Format a value as TOML; `none` for None, which the fields read."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_format(item)}' for key, item in value.items())} }}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(map(_format, value))}]"
    return json.dumps(str(value), ensure_ascii=False, allow_nan=False)
