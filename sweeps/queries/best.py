"""Find the best configurations of a sweep, chosen on validation, from MLflow alone."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, product
from statistics import fmean
from typing import Any

from basin.errors import UsageError, one_of
from stats.pareto import front, hypervolume
from stats.verdicts import MARGIN
from sweeps.queries.groups import Group
from sweeps.queries.means import satisfies
from sweeps.storage.roles import REPORTED, SEARCH_SEEDS
from sweeps.study.glossary import Glossary
from sweeps.study.objectives import BASIN, Limit, capped_merit
from sweeps.tracking.reader import Reader, Run
from sweeps.tracking.tags import AIM, VERDICT, read_glossary
from sweeps.tracking.uri import NotLoggedError

MOST = 5
"""Searched configurations shown for a single objective."""
PAIR = ("val_accuracy", "val_q_bar_reset")
"""Objectives of sweeps that do not record theirs."""


@dataclass(frozen=True)
class Aim:
    """Objectives and limits of a sweep."""

    objectives: tuple[str, ...] = PAIR
    margin: float = MARGIN
    limits: tuple[Limit, ...] = ()
    """Includes the basin constraint; empty if the sweep does not record its limits."""

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Aim":
        """Read the tags of an experiment."""
        if AIM not in tags:
            return cls()
        recorded = json.loads(tags[AIM])
        margin = recorded.get("margin")
        limits = [Limit.parse(text) for text in recorded.get("constraints") or ()]
        if margin is not None:
            limits.append(Limit(BASIN, "<=", margin))
        return cls(tuple(recorded["objectives"]), MARGIN if margin is None else margin, tuple(limits))


@dataclass(frozen=True)
class Area:
    """The hypervolume of a front."""

    size: float
    """In units of x times units of y."""
    x: float
    """Worst x that counts: the margin."""
    y: float
    """Worst y that counts: that of a mean member."""
    of: str
    """Group of the mean member."""


@dataclass(frozen=True)
class Best:
    """The answer to `best`."""

    aim: Aim
    x: str
    y: str
    """Names without their split."""
    chosen: list[Group]
    """Configurations chosen by the search, on fresh seeds, or those of a grid."""
    references: list[Group]
    listed: list[Group]
    """Best searched configurations by the objective, or non-dominated ones of search or grid, by x."""
    searched: int
    """Number of configurations of the search, or of the grid, that have x and y."""
    infeasible: int
    """Number of them that violate a limit: omitted, unless all do."""
    ranked: bool
    """True if they are ranked by the objective; otherwise they are a front."""
    glossary: Glossary
    area: Area | None = None
    bounds: tuple[Limit, ...] = ()
    """Bounds on the shown means, named without a split."""
    omitted: int = 0
    """Number of configurations that violate them."""


def find_best(
    reader: Reader, *, x: str | None = None, y: str | None = None, split: str = "test", bounds: Sequence[Limit] = ()
) -> Best:
    """Find the best configurations; reads the deciding metrics of all trials, and the rest of those shown.

    Only configurations whose shown means satisfy the bounds are returned: reported ones on `split`, searched ones on
    validation. Raises UsageError for an unknown metric, and for one that no trial has.
    """
    tags = reader.read_tags()
    aim, glossary = Aim.from_tags(tags), read_glossary(tags)
    x, y, ranked = _resolve_axes(aim, glossary, x, y)
    bounds = tuple(replace(bound, column=_find_metric(glossary, bound.column)) for bound in bounds)
    wanted = {f"val_{bound.column}" for bound in bounds}
    wanted |= {f"val_{x}", f"val_{y}", *_member_columns(glossary, y), *(limit.column for limit in aim.limits), BASIN}
    runs = reader.finished_runs(wanted)
    if not runs:
        raise NotLoggedError("MLflow has no finished trial of this sweep: run `launch.py sweep` first")
    needed = {f"val_{name}" for name in [y, *([] if ranked else [x]), *(bound.column for bound in bounds)]}
    if not any(needed <= run.metrics.keys() for run in runs):
        runs = reader.finished_runs()  # the error about missing metrics lists the existing ones
    reported = {run.key: run for run in reader.complete_runs([run for run in runs if run.role in REPORTED])}
    known = [reported.get(run.key, run) for run in runs]
    answer = select_best(known, tags=tags, aim=aim, x=x, y=y, ranked=ranked, split=split, bounds=bounds)
    shown = list(chain.from_iterable(group.runs for group in answer.listed))
    complete = {run.key: run for run in reader.complete_runs(shown)}
    groups = [replace(group, runs=[complete[run.key] for run in group.runs]) for group in answer.listed]
    return replace(answer, listed=groups)


def _resolve_axes(aim: Aim, glossary: Glossary, x: str | None, y: str | None) -> tuple[str, str, bool]:
    """Axes without their split, and whether the search is ranked by its one objective instead."""
    first, *others = (name.removeprefix("val_") for name in aim.objectives)
    second = others[0] if others else BASIN.removeprefix("val_")
    return _find_metric(glossary, x or second), _find_metric(glossary, y or first), not (x or y or others)


def parse_bound(text: str, sense: str) -> Limit:
    """Parse the value of --at-least (>=) or --at-most (<=), such as `q_bar=-1`; raises UsageError for another form."""
    name, _, number = text.partition("=")
    option = "--at-least" if sense == ">=" else "--at-most"
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not name.strip() or not math.isfinite(bound):
        raise UsageError(f"{option} {text}: expected a metric, = and a number, such as q_bar=-1")
    return Limit(name.strip(), sense, bound)


def _find_metric(glossary: Glossary, name: str) -> str:
    known = glossary.better
    plain = name.removeprefix("val/").removeprefix("val_")
    for column in (plain, f"{plain}_reset"):
        if column in known:
            return column
    raise one_of("metric", name, [column.removesuffix("_reset") for column in known])


def select_best(
    runs: Sequence[Run],
    *,
    tags: Mapping[str, str],
    aim: Aim,
    x: str,
    y: str,
    ranked: bool,
    split: str = "test",
    bounds: tuple[Limit, ...] = (),
) -> Best:
    """Select on validation, whatever split is shown later; x, y and the bounds are named without their split."""
    searched = [group for group in _group_runs(runs, SEARCH_SEEDS) if _has_role(group, "search")]
    candidates = searched or ([] if ranked else _group_runs(runs, ("grid",)))
    axes = [y] if ranked else [x, y]
    known = [group for group in candidates if all(group.mean(f"val_{name}") is not None for name in axes)]
    if candidates and not known:
        raise _missing_error(runs, axes)
    if lacking := [bound.column for bound in bounds if not any(f"val_{bound.column}" in run.metrics for run in runs)]:
        raise _missing_error(runs, lacking)
    every, reported = known, _reported_groups(runs, searched, tags, y)
    known = [group for group in every if satisfies(group, "val", bounds)]
    kept = [group for group in reported if satisfies(group, split, bounds)]
    omitted = len(every) - len(known) + len(reported) - len(kept)
    feasible = [group for group in known if _is_feasible(group, aim)]
    admissible, glossary = feasible or known, read_glossary(tags)
    groups = _rank_groups(admissible, aim, glossary, y) if ranked else _front_groups(admissible, glossary, x, y)
    references = [group for group in reported if group.first.role == "reference"]
    return Best(
        aim,
        x,
        y,
        [group for group in kept if group.first.role != "reference"],
        [group for group in kept if group.first.role == "reference"],
        groups[:MOST] if ranked else groups,
        len(known),
        len(known) - len(feasible),
        ranked,
        glossary,
        None if ranked or not groups else _front_area(groups, references or every, aim, glossary, x, y),
        bounds,
        omitted,
    )


def _missing_error(runs: Sequence[Run], names: Sequence[str]) -> UsageError:
    existing: set[str] = set()
    for run in runs:
        existing |= {name.removeprefix("val_") for name in run.metrics if name.startswith("val_")}
    return UsageError(f"no searched trial has {' and '.join(names)}: expected some of {', '.join(sorted(existing))}")


def _group_runs(runs: Iterable[Run], roles: Collection[str]) -> list[Group]:
    """Group the runs of these roles by configuration; a run without one stands for itself."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.role in roles:
            groups.setdefault(run.configuration or _configuration_of(run), []).append(run)
    return [Group(members) for members in groups.values()]


def _configuration_of(run: Run) -> str:
    if run.role not in REPORTED:
        return run.key
    return json.dumps(sorted((name, value) for name, value in run.params.items() if name != "seed"), allow_nan=False)


def _has_role(group: Group, role: str) -> bool:
    return any(run.role == role for run in group.runs)


def _is_feasible(group: Group, aim: Aim) -> bool:
    """Tell whether the means over the seeds satisfy the limits; if unknown, whether all runs are feasible."""
    excesses = [group.excess(limit) for limit in aim.limits]
    if not excesses or None in excesses:
        return all(run.feasible for run in group.runs)
    return all(excess <= 0 for excess in excesses if excess is not None)


def _rank_groups(groups: Sequence[Group], aim: Aim, glossary: Glossary, objective: str) -> list[Group]:
    """Rank by the distance beyond the margin, then by the objective."""

    def order(group: Group) -> tuple[float, float, str]:
        beyond = max(0.0, _worst_if_nan(group.excess(Limit(BASIN, "<=", aim.margin)) or 0.0))
        merit = glossary.sign(objective) * _mean_or_nan(group, f"val_{objective}")
        return beyond, _worst_if_nan(-merit), group.first.key

    return sorted(groups, key=order)


def _worst_if_nan(value: float) -> float:
    """Return a value to be minimised; NaN is worse than any number."""
    return math.inf if math.isnan(value) else value


def _mean_or_nan(group: Group, name: str) -> float:
    value = group.mean(name)
    return math.nan if value is None else value


def _oriented_point(group: Group, glossary: Glossary, x: str, y: str) -> tuple[float, float]:
    """Coordinates to be maximised; q̄ is capped at 0."""
    first, second = (glossary.sign(name) * capped_merit(name, _mean_or_nan(group, f"val_{name}")) for name in (x, y))
    return first, second


def _front_groups(groups: Sequence[Group], glossary: Glossary, x: str, y: str) -> list[Group]:
    by_key = {group.first.key: group for group in groups}
    keys = front({key: _oriented_point(group, glossary, x, y) for key, group in sorted(by_key.items())})
    return sorted((by_key[key] for key in keys), key=lambda group: -glossary.sign(x) * _mean_or_nan(group, f"val_{x}"))


def _reported_groups(runs: Sequence[Run], searched: Sequence[Group], tags: Mapping[str, str], y: str) -> list[Group]:
    """Configurations on reported seeds, without those that are no longer chosen."""
    by_configuration = {group.first.configuration: group for group in searched}
    groups = []
    for group in _group_runs(runs, REPORTED):
        keys = sorted(run.key for run in group.runs)
        known = json.loads(tags.get(f"{VERDICT}{keys[0]}", "{}"))
        if not known.get("chosen", True):
            continue
        source = by_configuration.get(group.first.configuration) if group.first.configuration else None
        beyond = source.excess(Limit(BASIN, "<=", known.get("margin", MARGIN))) if source else None
        verdicts, score = known if known.get("keys") == keys else {}, source.mean(f"val_{y}") if source else None
        groups.append(replace(group, verdicts=verdicts, beyond=beyond, searched=score))
    return sorted(groups, key=lambda group: (group.first.construction, _sort_key(group.first.params), group.first.key))


def _sort_key(params: Mapping[str, str]) -> list[tuple[str, float, str]]:
    """Parameters sorted as numbers, so that 10 comes after 9."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.inf

    return [(name, number(text), text) for name, text in sorted(params.items()) if name != "seed"]


def _member_columns(glossary: Glossary, y: str) -> list[str]:
    """Column of a mean member's y, if there is one."""
    name = f"member_mean_{y}"
    return [f"val_{name}"] if name in glossary.better else []


def _front_area(
    groups: Sequence[Group], others: Sequence[Group], aim: Aim, glossary: Glossary, x: str, y: str
) -> Area | None:
    """Hypervolume beyond the margin and the mean member; None for axes without either."""
    ends = {"q_bar_": -aim.margin, "basin_upper_": aim.margin}
    worst_x = next((end for start, end in ends.items() if x.startswith(start)), None)
    means = [group.mean(name) for name, group in product(_member_columns(glossary, y), others)]
    members = [mean for mean in means if mean is not None]
    if worst_x is None or not members:
        return None
    corner = (glossary.sign(x) * worst_x, glossary.sign(y) * fmean(members))
    of = "the references" if any(_has_role(group, "reference") for group in others) else "the searched configurations"
    size = hypervolume([_oriented_point(group, glossary, x, y) for group in groups], corner)
    return Area(size, worst_x, fmean(members), of)


def to_json(answer: Best) -> dict[str, Any]:
    """Return the answer as plain data, without the glossary; the listed configurations are under `found`.

    Numbers that are not finite stay: write it with `dump_json`.
    """
    data = asdict(answer)
    data.pop("glossary")
    return {"found": data.pop("listed"), **data}
