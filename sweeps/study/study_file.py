"""Make a study from a study file (format: docs/studies.md). Values are parsed by the fields they belong to."""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from basin.constructions import constructions
from basin.errors import UsageError, one_of
from basin.spec import Value, describe_fields
from basin.trial import REGISTRIES, Trial, overlay, trial_of_names
from stats.verdicts import MARGIN
from sweeps.study.bases import dataset_of, full_recipe
from sweeps.study.catalog import SCHEDULES
from sweeps.study.document import Document
from sweeps.study.job import Changes
from sweeps.study.space import Space
from sweeps.study.study import AUTO, Study, check_precision

LEAST = {"trials": 0, "replicates": 1, "seeds": 1, "plane_points": 0, "margin": 0}
"""Least value of each number."""


def study_from_document(document: Document, data: Path | None) -> Study:
    """Make the study of a file, for a source of images if there is one; raises UsageError with file and line."""
    _check_numbers(document)
    base = _make_base(document, data)
    grid = _make_grid(document, base)
    space = _make_space(document, base, grid)
    study = Study(
        base=base,
        space=space,
        trials=_number(document, "trials", 0),
        grid=grid,
        margin=document.content.get("margin", MARGIN),
        references=_make_references(document, base),
        seeds=_number(document, "seeds", 3),
        plane_points=_number(document, "plane_points", 0),
        auto_precision=_has_auto_precision(document),
    )
    with document.located("trials"):
        if not (study.trials or grid):
            raise UsageError("nothing to run: expected trials, the number of configurations to search, or a grid")
        if space.searched and not study.trials:
            raise UsageError("trials: expected the number of configurations to search, as [search] names fields")
    return _with_aim(document, study)


def _check_numbers(document: Document) -> None:
    for name, least in LEAST.items():
        with document.located(name):
            if not document.content.get(name, least) >= least:
                raise UsageError(f"{name}={document.content[name]}: expected {least} or more")


def _number(document: Document, name: str, default: int) -> int:
    return int(document.content.get(name, default))


def _make_base(document: Document, data: Path | None) -> Trial:
    """The base trial: `[base]` over the defaults, or over the recipe of the literature."""
    values = dict(document.content.get("base", {}))
    schedule = document.content.get("schedule", "short")
    with document.located("schedule"):
        if schedule not in SCHEDULES:
            raise one_of("schedule", schedule, SCHEDULES)
    if "precision" in values:
        with document.located("base", "precision"):
            check_precision(values["precision"])
    if _has_auto_precision(document):
        del values["precision"]
    if data is not None:
        values.setdefault("dataset", dataset_of(data))
    for name in ("dataset", *(["model"] if schedule == "short" else [])):
        with document.located("base"):
            if name not in values:
                raise UsageError(f"[base] names no {name}: expected one of {', '.join(REGISTRIES[name])}")
        with document.located("base", name):
            REGISTRIES[name].entry(str(values[name]))
    with document.located("base", "dataset"):
        start = trial_of_names({"dataset": values["dataset"], "model": "resnet20", "construction": "deep"})
    if schedule == "full":
        start = full_recipe(start)
    return overlay(start, _parse_values(document, ("base",), start, values))


def _has_auto_precision(document: Document) -> bool:
    return bool(document.content.get("base", {}).get("precision") == AUTO)


def _parse_values(document: Document, path: tuple[str | int, ...], trial: Trial, values: Changes) -> dict[str, Value]:
    """Values of a table, by the fields of the trial that it changes; an error names the line."""
    parsed: dict[str, Value] = {}
    for name in REGISTRIES.keys() & values.keys():
        with document.located(*path, name):
            REGISTRIES[name].entry(str(values[name]))
    with document.located(*path):
        trial = overlay(trial, {name: values[name] for name in REGISTRIES if name in values})
    fields = trial.fields()
    for name, value in values.items():
        with document.located(*path, name):
            if name in REGISTRIES:
                parsed[name] = str(value)
            elif name == "seed":
                raise UsageError("seed: give --seed on the command line, the first seed of all trials")
            elif name in fields:
                parsed[name] = fields[name].parse(value)
            else:
                raise _unknown_field(name, fields)
    with document.located(*path):
        overlay(trial, parsed)
    return parsed


def _unknown_field(name: str, fields: Iterable[str]) -> UsageError:
    owners = [c for c in constructions if name in {f.name for f in describe_fields(constructions.entry(c)[0])}]
    if owners:
        return UsageError(f"{name} is a field of construction {', '.join(owners)} only: set it in [fixed] or [[grid]]")
    return one_of("field", name, {*REGISTRIES, *fields})


def _make_grid(document: Document, base: Trial) -> tuple[Changes, ...]:
    """Points of all blocks; lists in a block are combined with each other, the last one varies fastest."""
    points: list[Changes] = []
    for index, block in enumerate(document.content.get("grid", [])):
        with document.located("grid", index):
            if not isinstance(block, dict) or "construction" not in block:
                raise UsageError(f"a block of the grid names a construction and its fields, got {block}")
        choices = [values if isinstance(values, list) else [values] for values in block.values()]
        for values in product(*choices):
            point = dict(zip(block, values, strict=True))
            points.append(_parse_values(document, ("grid", index), base, point))
    return tuple(points)


def _make_space(document: Document, base: Trial, grid: tuple[Changes, ...]) -> Space:
    names = document.texts("constructions")
    with document.located("constructions"):
        for name in names:
            constructions.entry(name)
    names = names or list(dict.fromkeys(str(point["construction"]) for point in grid))
    with document.located("constructions"):
        if not names:
            raise UsageError("constructions: expected the constructions to search, such as ['constrained']")
    space = Space(tuple(names), ())
    space = space.with_fixed(_fixed_values(document, space) | _lost_values(document, base, names))
    for name, values in document.content.get("search", {}).items():
        with document.located("search", name):
            if name in space.fixed:
                raise UsageError(f"{name} is set in [fixed] or [base]: remove it there, or here")
            space = space.with_searched({name: None if values is True else values})
    return space


def _fixed_values(document: Document, space: Space) -> dict[str, Value]:
    fields, parsed = space.hyperparameters(), {}
    for name, value in document.content.get("fixed", {}).items():
        with document.located("fixed", name):
            if name not in fields:
                raise one_of("field of the searched constructions", name, fields)
            parsed[name] = fields[name].parse(value)
    return parsed


def _lost_values(document: Document, base: Trial, names: Iterable[str]) -> dict[str, Value]:
    """Values of `[base]` that a searched construction would replace by its own defaults."""
    given = document.content.get("base", {}).keys() & base.flat().keys() - REGISTRIES.keys()
    lost: dict[str, Value] = {}
    for name in names:
        flat = overlay(base, {"construction": name}).flat()
        lost |= {field: base.flat()[field] for field in given if field in flat and flat[field] != base.flat()[field]}
    return lost


def _make_references(document: Document, base: Trial) -> tuple[Changes, ...]:
    """Trials to compare with: names of constructions, or tables of fields."""
    references: list[Changes] = []
    for index, stated in enumerate(document.content.get("references", ["deep"])):
        point = stated if isinstance(stated, Mapping) else {"construction": stated}
        references.append(_parse_values(document, ("references", index), base, point))
    return tuple(references)


def _with_aim(document: Document, study: Study) -> Study:
    """Set sampler, objectives, constraints and early stopping."""
    content: Mapping[str, Any] = document.content
    study = study.with_size(None, content.get("sampler"))
    with document.located("metrics"):
        study = study.with_aim(metrics=document.texts("metrics"))
    with document.located("constraints"):
        study = study.with_aim(constraints=document.texts("constraints"))
    with document.located("scheduler"):
        return study.with_aim(scheduler=content.get("scheduler"), replicates=content.get("replicates"))
